"""The errors of yprov-mlflow; each says what happened, where, and the cure.

The tree::

    YprovMlflowError
    ├── SettingsError        a setting has a value that it cannot have   (ValueError)
    ├── MissingExtraError    an optional library is not installed        (ImportError)
    ├── UsageError           one of our own verbs was called wrongly     (ValueError)
    ├── StoreError           the MLflow store cannot be opened or asked
    │   └── RunNotFoundError the store does not know the run             (LookupError)
    ├── JournalError         the journal cannot be written
    ├── DeliveryError        a run's document is not to be had
    ├── CollectorError       a collector is unknown or does not keep the contract
    ├── DocumentError        bytes that are no provenance document       (ValueError)
    └── OutputError          a conversion cannot write what it made

None of them reaches a training script through an MLflow call: provenance must not break
what it observes. The command line and ``mlflow.prov`` raise them.
"""

from __future__ import annotations

from collections.abc import Iterable


class YprovMlflowError(Exception):
    """Base of all errors of this package.

    Args:
        what: What happened, as a clause without a full stop.
        where: The variable, file, URI or run that it happened with.
        cure: What to do about it, as a sentence without a full stop.
    """

    def __init__(self, what: str, where: str | None = None, cure: str | None = None) -> None:
        super().__init__(what, where, cure)
        self.what = what
        self.where = where
        self.cure = cure

    def __str__(self) -> str:
        place = f" ({self.where})" if self.where else ""
        return f"{self.what}{place}" + (f". {self.cure}." if self.cure else ".")


class SettingsError(YprovMlflowError, ValueError):
    """A setting has a value that it cannot have, or there is no such setting."""

    @classmethod
    def bad_value(cls, name: str, value: object, allowed: str, origin: str) -> SettingsError:
        """Say which values the setting ``name`` allows, when ``value`` came from ``origin``."""
        return cls(f"{name} cannot be {value!r}", origin, f"Give it {allowed}, or leave it unset")

    @classmethod
    def unknown(cls, name: str, known: str, origin: str) -> SettingsError:
        """Say that there is no setting ``name``; ``known`` lists those there are."""
        return cls(f"there is no setting {name!r}", origin, f"The settings are {known}")


class MissingExtraError(YprovMlflowError, ImportError):
    """A library is not installed that only an extra of the distribution brings."""

    @classmethod
    def of(cls, library: str, extra: str, purpose: str) -> MissingExtraError:
        """Name the command that brings ``library``, which ``purpose`` needs."""
        return cls(
            f"{purpose} needs {library}, which is not installed",
            None,
            f"Install it with: pip install 'yprov-mlflow[{extra}]'",
        )


class UsageError(YprovMlflowError, ValueError):
    """One of our own verbs was called with what it cannot take."""

    @classmethod
    def into_store(cls, out: str) -> UsageError:
        """Say that ``out`` lies in the store that is to be converted."""
        return cls(
            "the output would be written into the store that is converted",
            out,
            "Give a folder outside of it",
        )


class StoreError(YprovMlflowError):
    """The MLflow store of a run could not be opened or asked."""

    @classmethod
    def failed(cls, uri: str, reason: str) -> StoreError:
        """Say what the store at ``uri`` answered."""
        return cls(
            f"the tracking store cannot be asked: {reason}",
            uri,
            "Give the store with --tracking-uri or MLFLOW_TRACKING_URI, and see that it is up",
        )

    @classmethod
    def unreadable(cls, location: str, reason: str) -> StoreError:
        """Say why runs cannot be read from ``location``."""
        return cls(
            f"the runs cannot be read: {reason}",
            location,
            "Check the location, and that you may read it",
        )

    @classmethod
    def no_scheduler(cls, address: str, reason: str) -> StoreError:
        """Say that no Dask scheduler answers at ``address``."""
        return cls(
            f"there is no Dask scheduler: {reason}",
            address,
            "Start one with `dask scheduler`, or convert with --workers",
        )


class RunNotFoundError(StoreError, LookupError):
    """The tracking store does not know the run."""

    @classmethod
    def of(cls, run_id: str, where: str) -> RunNotFoundError:
        """Say that ``run_id`` is not known ``where`` it was looked for."""
        return cls(
            f"there is no run {run_id!r}",
            where,
            "Check the run id, and give the store with --tracking-uri or MLFLOW_TRACKING_URI",
        )


class JournalError(YprovMlflowError):
    """The journal of a run cannot be written."""

    @classmethod
    def unwritable(cls, folder: str, reason: str) -> JournalError:
        """Say that ``folder`` does not take events, and how to put the journal elsewhere."""
        return cls(
            f"the provenance journal cannot be written: {reason}",
            folder,
            "Make room or set YPROV_MLFLOW_DIR to a folder that can be written",
        )


class DeliveryError(YprovMlflowError):
    """The document of a run cannot be had, or cannot be put among its artifacts."""

    @classmethod
    def no_journal(cls, run_id: str, folder: str) -> DeliveryError:
        """Say that this machine has no journal of ``run_id``."""
        return cls(
            f"there is no journal of run {run_id!r}",
            folder,
            "Check the run id, and set YPROV_MLFLOW_DIR to what it was when the run was logged",
        )

    @classmethod
    def no_document(cls, run_id: str, reason: str) -> DeliveryError:
        """Say that the run has no document among its artifacts and no journal here."""
        return cls(
            f"there is no provenance of run {run_id!r}: {reason.rstrip('.')}",
            None,
            "Log the run with `import yprov_mlflow as mlflow` or a yprov+ tracking URI; "
            "if it was, run `yprov-mlflow recover` where it was logged",
        )


class CollectorError(YprovMlflowError):
    """A collector cannot be used: there is none of that name, or it is not made as one."""

    @classmethod
    def unknown(cls, name: str, known: Iterable[str]) -> CollectorError:
        """Say that there is no collector ``name``; ``known`` are those there are."""
        return cls(
            f"there is no collector {name!r}",
            None,
            f"Choose of {', '.join(known)}; a hyphen before a name takes it away",
        )

    @classmethod
    def broken(cls, name: str, where: str, reason: str) -> CollectorError:
        """Say why the collector that a package registered cannot be used."""
        return cls(
            f"the collector {name!r} cannot be used: {reason}",
            where,
            f"Mend or remove the package that brings it, or choose -{name}",
        )


class DocumentError(YprovMlflowError, ValueError):
    """Bytes that should be a provenance document are none."""

    @classmethod
    def malformed(cls, source: str, reason: str) -> DocumentError:
        """Say why what ``source`` holds is no PROV-JSON."""
        return cls(
            f"this is no PROV-JSON document: {reason}",
            source,
            "Give a run id, or a prov.json that yprov-mlflow wrote",
        )


class OutputError(YprovMlflowError):
    """The output of a conversion cannot be written."""

    @classmethod
    def unwritable(cls, where: str, error: OSError) -> OutputError:
        """Say why nothing more can be written to ``where``."""
        return cls(
            f"the output cannot be written: {error.strerror or error}",
            where,
            "Make room, or give another folder; the same command then goes on where it stopped",
        )

    @classmethod
    def not_uploaded(cls, url: str, reason: str) -> OutputError:
        """Say why nothing more can be uploaded to ``url``."""
        return cls(
            f"the output cannot be uploaded: {reason}",
            url,
            "Check the URL, and that you may write there; the same command uploads the rest",
        )

    @classmethod
    def foreign(cls, where: str, name: str) -> OutputError:
        """Say that ``where`` has a file ``name`` that would be lost."""
        return cls(
            f"the folder of a run has {name!r}, which no conversion wrote and which would be lost",
            where,
            "Move it away, or give another folder; the same command then goes on where it stopped",
        )

    @classmethod
    def in_use(cls, where: str) -> OutputError:
        """Say that another conversion writes to ``where``."""
        return cls(
            "another conversion writes to this folder", where, "Wait for its end, or stop it"
        )
