"""Experiments: a kept one, a renamed one, a deleted one."""

import mlflow


def make(diary):
    """Create them; gives the ids of the one that is kept and the one that will be deleted.

    Ids are as this version gives them, numbers or text; in the diary they are text.
    """
    diary.experiment("0", "Default")
    kept = _create(diary, "Größe & Maß: ☃/ñ")
    dropped = _create(diary, "dropped")
    renamed = _create(diary, "first name")
    diary.clock.tick()
    if diary.has("rename_experiment"):
        diary.client.rename_experiment(renamed, "second name")
        diary.experiments[str(renamed)]["name"] = "second name"
    if diary.has("set_experiment_tag"):
        for key, value in {"team": "physics", "note/long": "two\nlines", "größe": "ü"}.items():
            if diary.attempt("experiment tag", diary.client.set_experiment_tag, kept, key, value):
                diary.experiments[str(kept)]["tags"][key] = value
    return kept, dropped


def end(diary, dropped):
    """Delete what was to be deleted, with the runs in it."""
    diary.clock.tick()
    if diary.has("delete_experiment"):
        diary.client.delete_experiment(dropped)
        diary.experiments[str(dropped)]["deleted"] = True


def _create(diary, name):
    diary.clock.tick()
    experiment_id = (diary.client or mlflow).create_experiment(name)
    diary.experiment(str(experiment_id), name, creation_time=diary.clock.ms)
    return experiment_id
