"""What keeps readers from using a page, found by axe.

Nearly all of axe's time goes into the colours behind each of ten thousand texts. `looks.js` picks
those that are worth it: a few of each look, and none of a look that was measured on another page.
"""

from collections import Counter

from bookserver import ROOT

AXE = ROOT / "_build/vendor/axe-core/axe.min.js"
LOOKS = ROOT / "tests/book/looks.js"
# A chapter has tens of thousands of elements that are words of code or glyphs, and axe keeps a note
# of each. Words of the same class before the same background look the same: one of them stays
# an element, the others become bare text, which changes nothing that is seen. Glyphs of equations
# in the text go, after it was checked that they are set.
THIN = """() => {
    const seen = new Set();
    for (const word of [...document.querySelectorAll(".highlight span, .sig span")]) {
        const around = word.closest(".admonition, .cell_output, details, table, figure, a");
        const key = [word.className, word.parentElement.className, around?.className].join("|");
        if (seen.has(key)) word.replaceWith(...word.childNodes);
        seen.add(key);
    }
    for (const inline of document.querySelectorAll("span.math mjx-math")) inline.replaceChildren();
}"""
GRAVE = ("serious", "critical")
# No page has sound, and no rule that is on reads style sheets: axe need not fetch them again.
# Whether all text lies in landmarks is no grave fault, so it is not looked for.
FAULTS = """() => axe.run(document, {
    resultTypes: ["violations"], preload: false,
    rules: {"color-contrast": {enabled: false}, region: {enabled: false}},
}).then(result => result.violations.map(
    v => [v.impact, v.id, v.nodes.map(n => n.target.join(" ")).slice(0, 4).join(", ")]))"""
# Also the looks of the texts that axe could tell of, and what it found there.
CONTRAST = """async () => {
    const result = await axe.run(document, {runOnly: ["color-contrast"], preload: false});
    const nodes = name => result[name].flatMap(rule => rule.nodes);
    const look = node => Number(document.querySelector(node.target.at(-1)).dataset.look);
    const bad = nodes("violations");
    const places = bad.map(n => n.target.join(" ")).slice(0, 4).join(", ");
    return {
        faults: bad.length ? [[result.violations[0].impact, "color-contrast", places]] : [],
        bad: bad.map(look),
        good: nodes("passes").map(look),
    };
}"""

TRIES = 3  # pages on which a look is asked for, when axe could not tell of any of its texts

measured: set[int] = set()  # looks of which axe has said, in this process, that they are good
untold: Counter[int] = Counter()  # and on how many pages it could not tell of a look


def forget() -> None:
    """Forget what was found on other pages."""
    measured.clear()
    untold.clear()


def start(page) -> None:
    """Give a page axe, and take from it what is there many times."""
    page.add_script_tag(path=AXE)
    page.evaluate(THIN)


def said(faults):
    """Yield the grave ones among faults as text."""
    for impact, rule, places in faults:
        if impact in GRAVE:
            yield f"{impact} {rule}: {places}"


def contrast_faults(page):
    """Yield texts of too little contrast, in the page's width and theme as they are.

    If axe can tell of none of the texts that were picked of a look, all of that look are asked.
    """
    known = measured | {look for look, pages in untold.items() if pages >= TRIES}
    whole = []
    for _ in range(2):
        looks = page.evaluate(LOOKS.read_text(), [list(known), whole])
        if not looks:
            break
        found = page.evaluate(CONTRAST)
        yield from said(found["faults"])
        measured.update(set(found["good"]) - set(found["bad"]))
        whole = sorted(set(looks) - set(found["good"]) - set(found["bad"]))
        known.update(set(looks) - set(whole))
        if not whole:
            break
    untold.update(whole)


def other_faults(page):
    """Yield what is wrong with the page but for its contrasts."""
    yield from said(page.evaluate(FAULTS))
