"""Bibliography sorted by author and year, with labels that say both, like the citations in the text."""

from pybtex.plugin import register_plugin
from pybtex.richtext import Text
from pybtex.style.formatting.plain import Style as Plain
from pybtex.style.labels import BaseLabelStyle


def names(entry) -> str:
    """Surnames as a citation gives them: one, two, or the first and "et al."."""
    surnames = [
        " ".join(Text.from_latex(part).render_as("text") for part in p.prelast_names + p.last_names)
        for p in entry.persons["author"]
    ]
    if len(surnames) > 2:
        return f"{surnames[0]} et al."
    return " and ".join(surnames)


class Labels(BaseLabelStyle):
    """ "Authors year", with a, b, c where two works would share a label."""

    def format_labels(self, sorted_entries):
        labels = [f"{names(entry)}, {entry.fields['year']}" for entry in sorted_entries]
        for k, label in enumerate(labels):
            twin = labels[:k].count(label)
            yield label + ("abcdefgh"[twin] if labels.count(label) > 1 else "")


class Style(Plain):
    default_label_style = Labels


register_plugin("pybtex.style.formatting", "skybook", Style)
