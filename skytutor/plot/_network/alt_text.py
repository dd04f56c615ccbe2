"""A drawing in words, from the same rows: enough to draw it again."""

from skytutor.plot._network.rows import JOIN, STATE, Plan, Row


def describe_plan(plan: Plan) -> str:
    """Return sentences from which a reader can rebuild a network.

    Arguments:
        plan: its title, rows, brackets and notes.
    """
    weights = plan.notes[0].removesuffix(" in all")
    sentences = [f"{plan.title}: network of {weights}."]
    numbers: dict[int, int] = {}
    for row in plan.rows:
        if row.kind != STATE:
            numbers[id(row)] = len(numbers) + 1
    producer = _producers(plan, numbers)
    for k, row in enumerate(plan.rows):
        for group in [group for group in plan.groups if group.first == k]:
            inside = [numbers[id(r)] for r in plan.rows[k : group.last + 1] if id(r) in numbers]
            which = f"steps {inside[0]} to {inside[-1]}" if inside[1:] else f"step {inside[0]}"
            sentences.append(f"{group.label}, {which}:")
        if row.kind == STATE:
            sentences.append(_of_state(plan, k))
        else:
            sentences.append(_of_step(row, numbers, producer))
    sentences += [f"{note[0].upper()}{note[1:]}." for note in plan.notes[1:]]
    return " ".join(sentence for sentence in sentences if sentence).replace(" · ", ", ")


def _producers(plan: Plan, numbers: dict[int, int]) -> dict[int, str]:
    """Return, for each row, how its data are called: the step that made them, or the input."""
    found: dict[int, str] = {}
    last = ""
    for row in plan.rows:
        if row.kind != STATE:
            last = f"step {numbers[id(row)]}"
        elif row.title and (row.is_view or not row.direct):
            last = row.title
        found[id(row)] = last
    return found


def _of_state(plan: Plan, k: int) -> str:
    row = plan.rows[k]
    if not row.direct:
        name = "" if row.title == "input" else f" {row.title}"
        return f"Input{name}: {row.text}."
    name = f", {row.title}" if row.title else ""
    for more, text in row.more:
        name += f" and {text}" + (f", {more}" if more else "")
    name = name.replace(", output", ", the output")
    if row.is_view:
        return f"Read as {row.text}{name}."
    return f"This gives {row.text}{name}."


def _of_step(row: Row, numbers: dict[int, int], producer: dict[int, str]) -> str:
    """Return the sentence of a layer or a joint."""
    words = " ".join(word for word in (row.title, row.text) if word)
    if row.first:
        words = ", ".join(row.first) + ", then " + words
    if row.details:
        words += ", " + ", ".join(row.details)
    if row.weights:
        words += f" ({row.weights})"
    # Without a word a step takes what the one above it gives.
    alone = len(row.origins) == 1 and row.direct and row.kind != JOIN
    origins = [] if alone else [producer[id(origin)] for origin in row.origins]
    if origins:
        words += (" of " if row.kind == JOIN else " from ") + " and ".join(origins)
    return f"Step {numbers[id(row)]}: {words}."
