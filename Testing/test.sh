#!/usr/bin/env bash
# Every check: lint, types, tests. Arguments go to pytest: bash Testing/test.sh -k dicom
set -euo pipefail
cd "$(dirname "$0")/.."
source Testing/environment.sh
use_environment SyntheticContrast/Resources/SyntheticContrast-requirements.txt Testing/requirements.txt

"$python" -m ruff check .
"$python" -m ruff format --check .
"$python" -m mypy
"$python" -m pytest --installed "$@"
