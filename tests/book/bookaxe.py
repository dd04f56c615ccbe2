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
# In a small page: all grave faults, the contrast of every text with them.
FAULTS = """() => axe.run(document, {resultTypes: ["violations"]}).then(result => result.violations
    .filter(v => ["serious", "critical"].includes(v.impact))
    .map(v => `${v.impact} ${v.id}: ${v.nodes.map(n => n.target.join(" ")).join(", ")}`))"""
# Faults by rule, each with its first places, and the looks of the texts that axe could tell of.
# Axe's own reports name a place for each of thousands of sound elements as well.
REPORT = """() => axe.addReporter("faults and looks", (rules, options, done) => {
    const contrast = rules.find(rule => rule.id === "color-contrast");
    const looks = nodes => (nodes ?? []).map(({node}) => Number(node.element.dataset.look));
    const place = ({node}) => node.selector.join(" ");
    done({
        faults: rules.filter(rule => rule.violations.length).map(
            rule => [rule.impact, rule.id, rule.violations.slice(0, 4).map(place).join(", ")]),
        bad: looks(contrast?.violations), good: looks(contrast?.passes),
    });
})"""
# No page has sound, and no rule that is on reads style sheets: axe need not fetch them again.
# Whether all text lies in landmarks is no grave fault, so it is not looked for.
RUN = """all => axe.run(document, {
    reporter: "faults and looks", preload: false,
    ...(all ? {rules: {region: {enabled: false}}} : {runOnly: ["color-contrast"]}),
})"""

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
    page.evaluate(REPORT)
    page.evaluate(THIN)


def ask(page, known, whole, *, every_rule):
    """Return what axe finds, and the looks of which it could not tell: see `looks.js`."""
    looks = page.evaluate(LOOKS.read_text(), [known, whole])
    if not (looks or every_rule):
        return [], whole
    found = page.evaluate(RUN, every_rule)
    measured.update(set(found["good"]) - set(found["bad"]))
    told = {*found["good"], *found["bad"]}
    grave = [fault for fault in found["faults"] if fault[0] in GRAVE]
    faults = [f"{impact} {rule}: {places}" for impact, rule, places in grave]
    return faults, [look for look in whole or looks if look not in told]


def faults_of(page, *, every_rule=True):
    """Return what is gravely wrong with the page in its width and theme: all, or its contrasts.

    If axe can tell of none of the texts that were picked of a look, all of that look are asked.
    """
    known = [*measured, *(look for look, pages in untold.items() if pages >= TRIES)]
    faults, left = ask(page, known, [], every_rule=every_rule)
    if left:
        more, left = ask(page, known, left, every_rule=False)
        faults += more
    untold.update(left)
    return faults
