"""The errors of this package; each states what is wrong, where, and what to do.

The tree::

    YprovMlflowError
    ├── SettingsError        a setting is unknown or has an invalid value  (ValueError)
    ├── MissingExtraError    an optional library is not installed          (ImportError)
    ├── UsageError           a function got invalid arguments              (ValueError)
    ├── StoreError           an MLflow store cannot be opened or read
    │   ├── RunNotFoundError the store does not contain the run            (LookupError)
    │   └── AmbiguousRunError several runs have a name                     (LookupError)
    ├── JournalError         the journal cannot be written
    ├── DeliveryError        a run's document is not available
    ├── PluginError          a plugin of another package cannot be used
    │   └── CollectorError   a collector is unknown or violates its contract
    ├── DocumentError        bytes are not a provenance document           (ValueError)
    ├── GraphError           the index or a SPARQL server cannot be opened or asked
    │   ├── QueryError       a query has a syntax error                (ValueError)
    │   └── ThingError       a name fits nothing in the graph, or several things (LookupError)
    ├── SealError            a seal cannot be made or read
    │   └── KeyFileError     a key cannot be made, read or used
    ├── RerunError           a run cannot be run again
    ├── ServiceError         a service rejects a document or is away
    └── OutputError          the output of a conversion cannot be written

None of them reaches a training script through an MLflow call: capture must not break the script
that it observes. The command line and ``mlflow.prov`` raise them.
"""

from __future__ import annotations

from collections.abc import Iterable

TRACKING_OPTIONS = "--tracking-uri or MLFLOW_TRACKING_URI"
"""Where most commands take the URI of the store from."""


def first_line(error: object) -> str:
    """Return the first line of an error's message; its class name if the message is empty."""
    # The lines after it are tracebacks of servers and statements of databases.
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__


class YprovMlflowError(Exception):
    """Base of all errors of this package.

    Args:
        what: The problem, as a clause without a full stop.
        where: The variable, file, URI or run concerned.
        cure: What to do about it, as a sentence without a full stop.
    """

    def __init__(self, what: str, where: str | None = None, cure: str | None = None) -> None:
        # All arguments go to Exception, so that the error can be pickled between processes.
        super().__init__(what, where, cure)
        self.what = what
        self.where = where
        self.cure = cure

    def __str__(self) -> str:
        where = f" ({self.where})" if self.where else ""
        return f"{self.what}{where}" + (f". {self.cure}." if self.cure else ".")


# Some errors are also built-in ones, so that callers can catch them without this module.


class SettingsError(YprovMlflowError, ValueError):
    """A setting is unknown or has an invalid value."""

    @classmethod
    def bad_value(cls, name: str, value: object, allowed: str, origin: str) -> SettingsError:
        """Report an invalid value of the setting ``name``, which came from ``origin``."""
        return cls(f"{name} cannot be {value!r}", origin, f"Allowed: {allowed}; or leave it unset")

    @classmethod
    def unknown(cls, name: str, settings: Iterable[str], origin: str) -> SettingsError:
        """Report the unknown setting ``name``; ``settings`` are the names that exist."""
        cure = f"The settings are {', '.join(sorted(settings))}"
        return cls(f"unknown setting {name!r}", origin, cure)


class MissingExtraError(YprovMlflowError, ImportError):
    """A library that belongs to an extra of this distribution is not installed."""

    @classmethod
    def of(cls, library: str, extra: str, purpose: str) -> MissingExtraError:
        """Report the command that installs ``library``, which ``purpose`` needs."""
        cure = f"Install it with: pip install 'yprov-mlflow[{extra}]'"
        return cls(f"{purpose} needs {library}, which is not installed", None, cure)


class UsageError(YprovMlflowError, ValueError):
    """A function of this package got invalid arguments."""

    @classmethod
    def into_store(cls, out: str) -> UsageError:
        """Report an output folder ``out`` inside the store that is converted."""
        what = "the output would be written into the store that is converted"
        return cls(what, out, "Give a folder outside the store")

    @classmethod
    def not_single(cls, format_name: str, count: str) -> UsageError:
        """Report that ``count`` documents cannot be written to a flat file."""
        what = f"a flat {format_name} file holds one document, not {count}"
        cure = "Write each document to its own file, or choose a format and layout for several"
        return cls(what, None, cure)


class StoreError(YprovMlflowError):
    """An MLflow store cannot be opened or read."""

    @classmethod
    def failed(cls, uri: str, reason: str, option: str = TRACKING_OPTIONS) -> StoreError:
        """Report an error of the store at ``uri``, which ``option`` of the command sets."""
        cure = f"Check that the store is running, and set its URI with {option}"
        return cls(f"the tracking store failed: {reason}", uri, cure)

    @classmethod
    def missing(cls, uri: str) -> StoreError:
        """Report a database or folder that does not exist, and that opening would create."""
        cure = f"Check the working directory, and set the store with {TRACKING_OPTIONS}"
        return cls("there is no tracking store", uri, cure)

    @classmethod
    def silent(cls, uri: str, reason: str) -> StoreError:
        """Report that the store at ``uri`` was not asked again after it had not answered."""
        cure = "Repeat the command when the store is running"
        return cls(f"skipped, as its store did not answer before: {reason}", uri, cure)

    @classmethod
    def without_password(cls, uri: str, reason: str) -> StoreError:
        """Report that a database failed, for which no setting may have the password."""
        cure = (
            "Journals have no passwords: set the whole URI with --tracking-uri, in "
            "MLFLOW_TRACKING_URI, or on a server's machine in MLFLOW_BACKEND_STORE_URI"
        )
        return cls(f"the tracking store failed, with no password: {reason}", uri, cure)

    @classmethod
    def unreadable(cls, location: str, reason: str) -> StoreError:
        """Report that no runs can be read from ``location``."""
        cure = "Check the location and your permission to read it"
        return cls(f"cannot read the runs: {reason}", location, cure)

    @classmethod
    def no_scheduler(cls, address: str, reason: str) -> StoreError:
        """Report that no Dask scheduler answers at ``address``."""
        cure = "Start one with `dask scheduler`, or convert with --workers"
        return cls(f"the Dask scheduler cannot be reached: {reason}", address, cure)


class RunNotFoundError(StoreError, LookupError):
    """The tracking store does not contain the run."""

    @classmethod
    def of(cls, run_id: str, where: str) -> RunNotFoundError:
        """Report that the store ``where`` does not contain ``run_id``."""
        cure = f"Check the run id, and set the store with {TRACKING_OPTIONS}"
        return cls(f"run {run_id!r} does not exist", where, cure)

    @classmethod
    def unnamed(cls, name: str, where: str | None) -> RunNotFoundError:
        """Report that neither the index, the journals nor the store have a run with a name."""
        cure = (
            "Name an id, its first 4 digits or more, the name of a run, EXPERIMENT/NAME, latest or "
            f"a document; `yprov-mlflow list` lists runs. Set the store with {TRACKING_OPTIONS}"
        )
        return cls(f"no run is called {name!r}", where, cure)


class AmbiguousRunError(StoreError, LookupError):
    """Several runs have a name."""

    @classmethod
    def of_several(
        cls, name: str, candidates: Iterable[str], where: str | None
    ) -> AmbiguousRunError:
        """Report a name of several runs; each candidate begins with the id of a run."""
        lines = list(candidates)
        shown = "; ".join(lines[:10]) + ("; and more" if lines[10:] else "")
        return cls(f"several runs are called {name!r}: {shown}", where, "Name one by its id")


class JournalError(YprovMlflowError):
    """The journal of a run cannot be written."""

    @classmethod
    def unwritable(cls, folder: str, reason: str) -> JournalError:
        """Report that no event can be written to ``folder``."""
        cure = "Free disk space, or set YPROV_MLFLOW_DIR to a writable folder"
        return cls(f"cannot write the provenance journal: {reason}", folder, cure)

    @classmethod
    def moved(cls, folder: str) -> JournalError:
        """Report a journal that disappeared from ``folder`` and was written there again."""
        what = "the provenance journal was removed or moved while its run goes on"
        return cls(what, folder, "What this process knows was written again; leave the folder")


class DeliveryError(YprovMlflowError):
    """The document of a run is not available, or cannot be added to its artifacts."""

    @classmethod
    def no_journal(cls, run_id: str, folder: str, problems: Iterable[str] = ()) -> DeliveryError:
        """Report that this machine lacks a readable journal of ``run_id``."""
        if reasons := "; ".join(problems):
            cure = "Put the journal back as a regular file of yours, if there is a copy"
            return cls(f"no journal of {run_id!r} can be read: {reasons}", None, cure)
        cure = "Check the run id, and set YPROV_MLFLOW_DIR as it was when the run was logged"
        return cls(f"the journal of run {run_id!r} does not exist", folder, cure)

    @classmethod
    def no_journals(cls, folder: str) -> DeliveryError:
        """Report a folder without journals of any run."""
        cure = "Give the folder that contains `journal`: a state folder, or DIR of yprov:DIR"
        return cls("there are no journals", folder, cure)

    @classmethod
    def in_sync(cls, folder: str) -> DeliveryError:
        """Report that another process synchronizes the journals in a folder."""
        cure = "Wait until it has finished, or let it go on alone: it does the same work"
        return cls("another process synchronizes these journals", folder, cure)

    @classmethod
    def no_target(cls, folder: str, store: str) -> DeliveryError:
        """Report journals that name no store, or one that cannot get their runs."""
        what = f"the journals name {store!r}" if store else "the journals name no store"
        return cls(what, folder, "Give the tracking URI of a store with --to")

    @classmethod
    def no_document(cls, run_id: str, reason: str) -> DeliveryError:
        """Report a run without a document among its artifacts and without a journal here."""
        return cls(
            f"the provenance document of run {run_id!r} is not available: {reason.rstrip('.')}",
            None,
            "Log the run with `import yprov_mlflow as mlflow` or a yprov+ tracking URI; "
            "if you did, run `yprov-mlflow recover` on the machine where it was logged",
        )


class PluginError(YprovMlflowError):
    """A plugin of another package cannot be imported, or violates its contract."""

    @classmethod
    def broken(cls, kind: str, name: str, where: str, reason: str) -> PluginError:
        """Report a plugin; ``where`` names its entry point and package."""
        what = f"the {kind} {name!r} cannot be used: {reason}"
        return cls(what, where, "Repair or uninstall the package that provides it")

    @classmethod
    def unknown(cls, kind: str, name: str, names: Iterable[str]) -> PluginError:
        """Report the unknown plugin ``name``; ``names`` are those that exist."""
        installed = ", ".join(names) or "none"
        cure = f"Install the package that provides it; installed are: {installed}"
        return cls(f"unknown {kind} {name!r}", None, cure)


class CollectorError(PluginError):
    """A collector is unknown or violates its contract."""

    @classmethod
    def unknown(cls, kind: str, name: str, names: Iterable[str]) -> CollectorError:
        """Report the unknown collector ``name``; ``names`` are those that exist."""
        cure = f"Choose from {', '.join(names)}; prefix a name with a hyphen to exclude it"
        return cls(f"unknown {kind} {name!r}", None, cure)

    @classmethod
    def broken(cls, kind: str, name: str, where: str, reason: str) -> CollectorError:
        """Report a collector of another package that cannot be imported or used."""
        cure = f"Repair or uninstall the package that provides it, or exclude it with -{name}"
        return cls(f"the {kind} {name!r} cannot be used: {reason}", where, cure)


class DocumentError(YprovMlflowError, ValueError):
    """Bytes are not a provenance document, or a document does not fit a format."""

    @classmethod
    def unopened(cls, path: str, error: OSError) -> DocumentError:
        """Report a file that cannot be opened."""
        cure = "Give a run id, or the path of a document in any format"
        return cls(f"cannot read the document: {error.strerror or error}", path, cure)

    @classmethod
    def without_prov(cls, path: str) -> DocumentError:
        """Report a JSON file without anything of PROV."""
        cure = "Give a run id, or the path of a document in any format"
        return cls("the file contains no PROV", path, cure)

    @classmethod
    def unreadable(
        cls, format_name: str, reason: object, where: str | None = None
    ) -> DocumentError:
        """Report bytes that are not a document in the format ``format_name``."""
        cure = "Check that the file is complete and that its extension matches its format"
        return cls(f"not a valid {format_name} document: {first_line(reason)}", where, cure)

    @classmethod
    def too_long(cls, format_name: str, error: MemoryError) -> DocumentError:
        """Report a term that is longer than the parser of RDF can read."""
        cure = "Convert the store to PROV-JSON, PROV-N or PROV-XML, which have no such limit"
        return cls(f"a text is too long for the parser of {format_name}: {error}", None, cure)

    @classmethod
    def unwritable(
        cls, format_name: str, reason: object, where: str | None = None
    ) -> DocumentError:
        """Report a document that the format ``format_name`` cannot hold."""
        cure = "Change the value named here, or write PROV-JSON, which can hold every document"
        what = f"the document cannot be written as {format_name}: {first_line(reason)}"
        return cls(what, where, cure)

    @classmethod
    def compressed(cls) -> DocumentError:
        """Report a compressed file."""
        cure = "Unpack it first, for instance with gunzip or unzip"
        return cls("this file is compressed", None, cure)

    @classmethod
    def unknown_format(cls, where: str | None, formats: str) -> DocumentError:
        """Report a file in an unknown format; ``formats`` are the supported ones."""
        what = "neither the name nor the first bytes of the file identify its format"
        cure = f"Give the file the extension of its format; supported are {formats}"
        return cls(what, where, cure)


class ServiceError(YprovMlflowError):
    """A service that keeps documents is away, rejects a request or has another document."""


class GraphError(YprovMlflowError):
    """The index or a SPARQL server cannot be opened, read or written."""

    @classmethod
    def damaged(cls, where: str, reason: object) -> GraphError:
        """Report an index that cannot be read."""
        cure = "Make it again with: yprov-mlflow index --rebuild"
        return cls(f"the index cannot be read: {first_line(reason)}", where, cure)

    @classmethod
    def busy(cls, where: str, timeout_s: float) -> GraphError:
        """Report an index that other processes have written to all the time."""
        return cls(
            f"another process has written to the index for {timeout_s:g} s",
            where,
            "Try again later; what it adds is not lost",
        )

    @classmethod
    def unwritable(cls, where: str, reason: object) -> GraphError:
        """Report a folder of an index that cannot be written."""
        cure = "Free space or correct the rights, or set YPROV_MLFLOW_INDEX to another folder"
        return cls(f"the index cannot be written: {first_line(reason)}", where, cure)


class QueryError(GraphError, ValueError):
    """A query has a syntax error, or asks for something that the graph cannot do."""

    @classmethod
    def rejected(cls, reason: object) -> QueryError:
        """Report a query that the parser of SPARQL does not accept."""
        cure = "Correct the query at this position"
        return cls(f"the query is not valid SPARQL: {first_line(reason)}", None, cure)


class ThingError(GraphError, LookupError):
    """A name fits nothing in the graph, or several things."""

    @classmethod
    def missing(cls, name: str, kinds: str = "run, model, dataset, file or commit") -> ThingError:
        """Report a name that nothing in the graph has."""
        cure = (
            "Check the spelling, or index the documents that have it: yprov-mlflow index PATH|URI."
            " What is indexed: yprov-mlflow index --status"
        )
        return cls(f"no {kinds} in the index is called {name!r}", None, cure)

    @classmethod
    def ambiguous(cls, name: str, candidates: Iterable[str]) -> ThingError:
        """Report a name of several things; ``candidates`` are names that fit only one."""
        lines = list(candidates)
        shown = "; ".join(lines[:10]) + (f"; and {len(lines) - 10} more" if lines[10:] else "")
        return cls(f"{name!r} fits several things: {shown}", None, "Name one of them")


class SealError(YprovMlflowError):
    """A seal cannot be made or read."""

    @classmethod
    def not_a_file(cls, path: str) -> SealError:
        """Report a link, pipe or the like among the files to seal."""
        what = "only files can be sealed, and this is a link or something else"
        return cls(what, path, "Replace it with a file, or remove it")

    @classmethod
    def unreadable(cls, where: str, reason: str) -> SealError:
        """Report that a seal, or its file of digests, is damaged."""
        cure = "Restore it from a copy; if you trust the files as they are, seal them again"
        return cls(f"the seal cannot be read: {reason}", where, cure)

    @classmethod
    def not_signed(cls, where: str, fingerprint: str, hint: str) -> SealError:
        """Report that the key with ``fingerprint`` has not signed a seal, which names ``hint``."""
        other = f"it says it was signed with key {hint[:16]}" if hint != fingerprint else ""
        reason = other or "it was changed after it was signed, or signed with another key"
        what = f"the signature is not by key {fingerprint[:16]}: {reason}"
        return cls(what, where, "Check the key; if it is the right one, do not trust the seal")

    @classmethod
    def no_key(cls) -> SealError:
        """Report that no key was named."""
        cure = "Name it with --key or YPROV_MLFLOW_SEAL_KEY; `yprov-mlflow seal --new-key FILE`"
        return cls("there is no key", None, f"{cure} makes one")

    @classmethod
    def nothing(cls, where: str, cure: str) -> SealError:
        """Report that there is nothing to seal or verify."""
        return cls("there is nothing to seal", where, cure)


class KeyFileError(SealError):
    """A key cannot be made, read or used."""

    @classmethod
    def unwritable(cls, path: str, error: OSError) -> KeyFileError:
        """Report that no key can be written to ``path``."""
        reason = error.strerror or str(error)
        return cls(f"the key cannot be written: {reason}", path, "Choose another file")

    @classmethod
    def unreadable(cls, where: str, reason: object) -> KeyFileError:
        """Report that the file of a key cannot be opened."""
        reason = getattr(reason, "strerror", None) or reason
        return cls(f"the key cannot be read: {reason}", where, "Check the path and its permissions")

    @classmethod
    def unusable(cls, path: str, kind: str, error: Exception) -> KeyFileError:
        """Report that a file is not a key, or that its password is wrong."""
        what = f"the file is not {kind} in PEM that can be read: {first_line(error)}"
        return cls(what, path, "Check the file, and its password if it has one")

    @classmethod
    def unsupported(cls, path: str, kinds: tuple[str, ...]) -> KeyFileError:
        """Report a key of a kind that seals do not use."""
        return cls("this kind of key is not supported", path, f"Use one of {', '.join(kinds)}")


class RerunError(YprovMlflowError):
    """A run cannot be run again."""

    @classmethod
    def unwritable(cls, where: str, error: OSError) -> RerunError:
        """Report that nothing more can be written to the folder of the rerun."""
        cure = "Free disk space, or choose another folder with --into"
        return cls(f"the folder cannot be written: {error.strerror or error}", where, cure)


class OutputError(YprovMlflowError):
    """The output of a conversion cannot be written."""

    @classmethod
    def unwritable(cls, where: str, error: OSError) -> OutputError:
        """Report that nothing more can be written to ``where``."""
        cure = "Free disk space or give another folder, then repeat the command: it continues"
        return cls(f"the output cannot be written: {error.strerror or error}", where, cure)

    @classmethod
    def not_uploaded(cls, url: str, reason: str) -> OutputError:
        """Report that nothing more can be uploaded to ``url``."""
        cure = "Check the URL and your permission to write there, then repeat the command"
        return cls(f"the output cannot be uploaded: {reason}", url, cure)

    @classmethod
    def foreign(cls, where: str, name: str) -> OutputError:
        """Report a file ``name`` that replacing the folder ``where`` would delete."""
        what = f"the folder contains {name!r}, which no conversion wrote and which would be lost"
        cure = "Move the file away or give another folder, then repeat the command"
        return cls(what, where, cure)

    @classmethod
    def in_use(cls, where: str) -> OutputError:
        """Report that another conversion writes to ``where``."""
        cure = "Wait until it ends, or stop it"
        return cls("another conversion writes to this folder", where, cure)
