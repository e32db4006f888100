"""The models that a user can choose, and adding one of one's own. No Qt."""

from __future__ import annotations

import shutil
from pathlib import Path

from slicer.i18n import tr as _

from SyntheticContrastLib.ct.atomic import atomic_folder
from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.models.bundle import (
    CARD_FILE,
    WEIGHTS_FILE,
    Bundle,
    discover,
    load_bundle,
    user_models_folder,
)


class KnownModels:
    """Bundles by name. Each is read and its weights are hashed once, and again when its files have changed."""

    def __init__(self) -> None:
        self._folders: dict[str, Path] = {}
        self._loaded: dict[Path, tuple[tuple[int, ...], Bundle | InputError]] = {}
        self.refresh()

    @property
    def names(self) -> list[str]:
        return list(self._folders)

    def refresh(self) -> None:
        """Look at the folders again."""
        self._folders = discover()

    def find(self, name: str) -> Bundle:
        """Raises InputError: there is none of that name, or it is damaged."""
        if name not in self._folders:
            raise InputError(_("there is no model {name}: choose another, or add its folder").format(name=name))
        folder = self._folders[name]
        files = [folder / file for file in (CARD_FILE, WEIGHTS_FILE)]
        state = tuple(file.stat().st_mtime_ns if file.is_file() else 0 for file in files)
        known = self._loaded.get(folder)
        if known is None or known[0] != state:
            found: Bundle | InputError
            try:
                found = load_bundle(folder)
            except InputError as error:
                found = error
            known = self._loaded[folder] = (state, found)
        if isinstance(known[1], InputError):
            raise known[1]
        return known[1]


def addBundle(folder: Path) -> str:
    """Copy a bundle to the user's models; returns its name there. Only card and weights are copied.

    Raises:
        InputError: `load_bundle` refuses it, or another model has its name.
        OSError: no space, or no permission.
    """
    bundle = load_bundle(folder)
    name = bundle.folder.resolve().name
    if name in discover():
        raise InputError(
            _("there is a model {name} already: rename the folder, or remove the other one").format(name=name)
        )
    with atomic_folder(user_models_folder() / name) as temporary:
        for file in (CARD_FILE, WEIGHTS_FILE):
            shutil.copyfile(bundle.folder / file, temporary / file)
        load_bundle(temporary)  # whole, as it was checked
    return name
