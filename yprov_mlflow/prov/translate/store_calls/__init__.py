"""Calls that changed the store otherwise: each an activity, with what it did as entities."""

from __future__ import annotations

from yprov_mlflow.prov.events import StoreCalled
from yprov_mlflow.prov.translate.store_calls import assessments, links, registry, traces
from yprov_mlflow.prov.translate.store_calls.method_names import handler_of
from yprov_mlflow.prov.translate.store_calls.store_call import Call, Handler
from yprov_mlflow.prov.translate.translation import Translation

HANDLERS: dict[str, Handler] = {
    **registry.HANDLERS,
    **traces.HANDLERS,
    **assessments.HANDLERS,
    **links.HANDLERS,
}
"""What particular methods do; all others go by the grammar of their names."""


def on_call(translation: Translation, event: StoreCalled) -> None:
    """Make the records of one call.

    A method that nothing is known of is an activity with its arguments and its result.
    """
    call = Call(translation, event)
    handler = HANDLERS.get(event.method) or handler_of(event.method)
    call.begin()
    if handler is None or not handler(call):
        call.add_subjects()
        call.add_result()
