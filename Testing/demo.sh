#!/usr/bin/env bash
# The main job on a fresh machine: a non-contrast chest CT in, a synthetic contrast-enhanced CT out.
#   bash Testing/demo.sh [--input CT] [--output DIR]
# Without --input: a thorax phantom, written as a DICOM series. CT: a DICOM folder, NRRD, NIfTI or MHA.
set -euo pipefail

input=""
output=""
while [ $# -gt 0 ]; do
  case "$1" in
    --input | --output)
      [ $# -ge 2 ] || { echo "demo.sh: $1 needs a value" >&2; exit 2; }
      if [ "$1" = --input ]; then input=$(realpath -m "$2"); else output=$(realpath -m "$2"); fi
      shift 2
      ;;
    -h | --help) sed -n '2,4s/^# *//p' "$0"; exit 0 ;;
    *) echo "demo.sh: unknown argument $1; usage: bash Testing/demo.sh [--input CT] [--output DIR]" >&2; exit 2 ;;
  esac
done

cd "$(dirname "$0")/.."
output=${output:-$PWD/demo-output}
source Testing/environment.sh
use_environment SyntheticContrast/Resources/SyntheticContrast-requirements.txt

mkdir -p "$output"
if [ -z "$input" ]; then
  input=$output/phantom_ncct
  echo "Making a thorax phantom as a DICOM series in $input"
  "$python" Testing/make_phantom.py "$input"
fi
"$python" SyntheticContrast/SyntheticContrastCLI/generate.py \
  --input "$input" --output "$output/scect.nrrd" --preview "$output/preview.png" --overwrite
echo
echo "Look at $output/preview.png; load $output/scect.nrrd in 3D Slicer beside the input."
