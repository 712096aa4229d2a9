"""The models of one run, by the names that the command and the rows give them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from farm import fetch
from farm.config import ModelConfig
from farm.errors import ModelError, UsageError
from farm.fetch import ResolvedModel
from farm.resolver import planned_outscale
from sr_kernel.models import BOX


class ModelBook(dict[str, ResolvedModel]):
    """Models by name; resolved when first asked for, those of the command at once.

    Raises ModelError and UsageError for the command's own models, KeyError with a clause for one that a row names.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self._weights_dir = config.weights_dir
        names = config.asked
        for name in names:
            self[name] = self._checked(name)
        self._refuse_twins(names, config)

    def __missing__(self, name: str) -> ResolvedModel:
        try:
            resolved = self._checked(name)
        except ModelError as error:
            raise KeyError(str(error)) from error
        if not resolved.spec.sha256:
            # Whether a row is done is told by digests, and of a row's model that is not said before it is read.
            raise KeyError(f"the digest of {name} is not known; name it with --model or --models instead")
        if any(one.spec.name == resolved.spec.name and one.sha256 != resolved.sha256 for one in self.values()):
            raise KeyError(f"another file of this run is called {resolved.spec.name} too; rename one of them")
        self[name] = resolved
        return resolved

    def by_spec_name(self, name: str) -> ResolvedModel:
        """The model whose own name, as items carry it, is `name`."""
        return next(model for model in self.values() if model.spec.name == name)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of the models that were asked for."""
        return tuple(dict.fromkeys(note for model in self.values() for note in model.notes))

    def notes_of_work(self, used: Collection[str]) -> tuple[str, ...]:
        """The same, after models of these names had work to do."""
        ships = f"{BOX} is the small model that ships with the farm; --model x4plus is Real-ESRGAN's own (67 MB)"
        return (ships, *self.notes) if BOX in used else self.notes

    def _checked(self, name: str) -> ResolvedModel:
        """A model that restores pictures, and whose digest is known."""
        model = fetch.resolve(name, self._weights_dir)
        if model.spec.role != "restore":
            use = "is for training only" if model.spec.train_only else "is a part of restoring faces"
            raise ModelError(f"model {name}: {use}; choose one of {', '.join(fetch.RESTORING)}")
        if not model.sha256:
            fetch.ensure(model.spec, self._weights_dir)  # says why it is not here
        return model

    def _refuse_twins(self, names: Sequence[str], config: ModelConfig) -> None:
        """Models of a command must differ, and their weight files be told apart by their names."""
        seen: dict[tuple[str, float], str] = {}
        digests: dict[str, str] = {}
        for name in names:
            if names.count(name) > 1:
                raise UsageError(f"--models: {name} is named more than once; leave the others out")
            model = self[name]
            scale = 0.0 if config.size else planned_outscale(name, model.spec, config.outscale)
            other = seen.setdefault((model.spec.name, scale), name)
            if digests.setdefault(model.spec.name, model.sha256) != model.sha256:
                raise UsageError(f"--models: {other} and {name} are both called {model.spec.name}; rename one of them")
            if other != name:
                raise UsageError(f"--models: {other} and {name} are the same model; leave one of them out")
