"""Translate calls that changed the store: each is an activity, and its effects are entities."""

from __future__ import annotations

from yprov_mlflow.prov.events import StoreCalled
from yprov_mlflow.prov.translate.store_calls import evaluation, links, registry, traces
from yprov_mlflow.prov.translate.store_calls.method_names import handler_of
from yprov_mlflow.prov.translate.store_calls.store_call import Call, Handler
from yprov_mlflow.prov.translate.translation import Translation

HANDLERS: dict[str, Handler] = {
    **registry.HANDLERS,
    **traces.HANDLERS,
    **links.HANDLERS,
    **evaluation.HANDLERS,
}
"""Handlers of particular methods; all other methods are handled by the words of their names."""


def on_call(translation: Translation, event: StoreCalled) -> None:
    """Add the records of one call.

    A call that no handler understands is an activity with its arguments and its result.
    """
    call = Call(translation, event)
    handler = HANDLERS.get(event.method) or handler_of(event.method)
    call.begin()
    if handler is None or not handler(call):
        call.use_subjects()
        call.add_result()
    call.end()
