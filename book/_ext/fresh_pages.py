"""Read a page in every build whose content other files decide: the rates of outcomes belong to the chapters' code."""

PAGES = ["book/outcomes"]


def outdated(app, env, added, changed, removed) -> list[str]:
    return [page for page in PAGES if page in env.found_docs]


def setup(app) -> dict:
    app.connect("env-get-outdated", outdated)
    return {"parallel_read_safe": True}
