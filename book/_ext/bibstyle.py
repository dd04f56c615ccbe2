"""Bibliography sorted by author and year.

Its labels say both, like the citations in the text.
"""

from pybtex.plugin import register_plugin
from pybtex.richtext import Text
from pybtex.style.formatting.plain import Style as Plain
from pybtex.style.labels import BaseLabelStyle


def names(entry) -> str:
    """Return surnames as a citation gives them: one, two, or the first and "et al."."""
    surnames = []
    for person in entry.persons["author"]:
        parts = person.prelast_names + person.last_names
        surnames.append(" ".join(Text.from_latex(part).render_as("text") for part in parts))
    if len(surnames) > 2:
        return f"{surnames[0]} et al."
    return " and ".join(surnames)


class Labels(BaseLabelStyle):
    """Labels "Authors, year", with a, b, c where two works would share one."""

    def format_labels(self, sorted_entries):
        """Yield the label of each entry."""
        labels = [f"{names(entry)}, {entry.fields['year']}" for entry in sorted_entries]
        for k, label in enumerate(labels):
            # Entries that share the label and stand before this one.
            before = labels[:k].count(label)
            yield label + ("abcdefgh"[before] if labels.count(label) > 1 else "")


class Style(Plain):
    """The plain style of pybtex with these labels."""

    default_label_style = Labels


register_plugin("pybtex.style.formatting", "skybook", Style)
