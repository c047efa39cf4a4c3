"""The model registry: models, versions, stages, aliases, deleted ones."""


def log(diary, run_id, models):
    """Register models, where this version has a registry in this kind of store."""
    if not diary.has("create_registered_model"):
        return
    diary.clock.tick()
    if not diary.attempt("registered model", diary.client.create_registered_model, "iris & co"):
        return
    model = {"description": None, "tags": {}, "aliases": {}, "versions": {}}
    model["creation_time"] = diary.clock.ms
    diary.registered_models["iris & co"] = model
    for number in (1, 2, 3):
        _register(diary, model, run_id, number, models)
    _describe(diary, model)
    diary.clock.tick()
    for number, stage in ((1, "Archived"), (2, "Production")):
        move = diary.client.transition_model_version_stage
        if diary.attempt("stage", move, "iris & co", str(number), stage):
            model["versions"][str(number)]["stage"] = stage
    diary.clock.tick()
    if diary.attempt("deletion", diary.client.delete_model_version, "iris & co", "3"):
        model["versions"]["3"]["deleted"] = True
    diary.client.create_registered_model("größe")
    bare = {"description": None, "tags": {}, "aliases": {}, "versions": {}}
    diary.registered_models["größe"] = dict(bare, creation_time=diary.clock.ms)
    if diary.has("register_prompt"):
        _register_prompts(diary)


def _register_prompts(diary):
    """Prompts are registered models too, with tags that say so."""
    for template in ("Translate {{text}}.", "Translate {{text}} to ü,\nplease."):
        diary.clock.tick()
        if diary.attempt("prompt", diary.client.register_prompt, "translate", template):
            diary.prompts.setdefault("translate", []).append(template)


def _register(diary, model, run_id, number, models):
    diary.clock.tick()
    source = diary.client.get_run(run_id).info.artifact_uri + "/plots"
    named = {"model_id": models[0]} if models and number == 2 else {}
    diary.client.create_model_version("iris & co", source, run_id, **named)
    model["versions"][str(number)] = {
        "source": source,
        "run_id": run_id,
        "stage": None,
        "deleted": False,
        "description": None,
        "tags": {},
        "creation_time": diary.clock.ms,
        "model_id": named.get("model_id"),
    }


def _describe(diary, model):
    client, name = diary.client, "iris & co"
    update = client.update_registered_model
    if diary.attempt("description", update, name, description="What *it* is for\nand ü"):
        model["description"] = "What *it* is for\nand ü"
    update = client.update_model_version
    if diary.attempt("description", update, name, "1", description="the first"):
        model["versions"]["1"]["description"] = "the first"
    if diary.has("set_registered_model_tag"):
        client.set_registered_model_tag(name, "owner/team", "Zoë")
        model["tags"]["owner/team"] = "Zoë"
        client.set_model_version_tag(name, "1", "checked", "by hand\nand eye")
        model["versions"]["1"]["tags"]["checked"] = "by hand\nand eye"
    if diary.has("set_registered_model_alias"):
        client.set_registered_model_alias(name, "champion", "1")
        client.set_registered_model_alias(name, "champion", "2")
        model["aliases"]["champion"] = "2"
