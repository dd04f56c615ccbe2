// Choose the texts of a page whose contrast axe measures: a few of each look.
//
// The look of a text is its own colour and letters, all that is painted behind it by what is around
// it, and all else that it meets on the page. Texts of one look have one contrast.
//
//   known: numbers of looks that were measured before; whole: of looks that are to be measured in
//   every text. Returns the number of each look of which texts were marked; in the second round
//   only of looks that have more texts than were marked in the first.
([known, whole]) => {
    const NONE = {
        backgroundColor: "rgba(0, 0, 0, 0)", backgroundImage: "none", opacity: "1", filter: "none",
        mixBlendMode: "normal", clipPath: "none", clip: "auto", transform: "none",
        position: "static", overflowX: "visible", overflowY: "visible",
    };
    const LETTERS = ["color", "fontSize", "fontWeight", "textShadow", "visibility", "textIndent",
                     "webkitTextStrokeWidth"];
    const PICTURES = "img, svg, canvas, video, iframe, object, embed";
    const FIELDS = "input, select, textarea";
    const OFF = ":disabled, [aria-disabled=true]";
    const MANY = 4;  // texts of a look: axe cannot tell of one that is covered
    const STRIP = 256;  // pixels: painted boxes are kept by the strips of the page they reach into
    const doc = document.documentElement;
    const width = Math.max(doc.scrollWidth, innerWidth);
    const holds = (outer, inner) => outer.left <= inner.left + 1 && outer.right >= inner.right - 1
        && outer.top <= inner.top + 1 && outer.bottom >= inner.bottom - 1;
    const meets = (one, other) => one.left < other.right - 1 && one.right > other.left + 1
        && one.top < other.bottom - 1 && one.bottom > other.top + 1;
    const values = (style, names) => names.map(name => style[name]).join();

    // A number for a name, below 2**52: two polynomials of its letters, each modulo a prime.
    function number(name) {
        let a = 0, b = 0;
        for (let i = 0; i < name.length; i++) {
            a = (a * 257 + name.charCodeAt(i)) % 67108859;
            b = (b * 8191 + name.charCodeAt(i)) % 67108837;
        }
        return a * 67108864 + b;
    }

    // What an element and all around it do to a text in it: a name of that; the boxes that a text
    // must lie in to have them behind it; whether it is cut to a dot, for screen readers alone.
    const around = new Map([[null, {name: "", boxes: [], dot: false}]]);
    const painted = new Map();
    const strips = box => Array.from(
        {length: Math.floor(box.bottom / STRIP) - Math.floor(box.top / STRIP) + 1},
        (_, k) => Math.floor(box.top / STRIP) + k);
    function paint(el, box, name) {
        const entry = [el, box, name];
        for (const k of strips(box)) {
            if (!painted.has(k)) painted.set(k, []);
            painted.get(k).push(entry);
        }
    }
    function look(el) {
        if (around.has(el)) return around.get(el);
        const found = {...look(el.parentElement)};
        const style = getComputedStyle(el);
        const box = el.getBoundingClientRect();
        const own = Object.keys(NONE).filter(key => style[key] !== NONE[key]);
        const paints = own.includes("backgroundColor") || own.includes("backgroundImage");
        if (own.length) found.name += "/" + own.map(key => key + style[key]);
        found.dot ||= /^rect\(([01])px, \1px, \1px, \1px\)$/.test(style.clip);
        if (el !== doc && el !== document.body) {
            if (/auto|scroll/.test(style.overflow)) {
                // What is scrolled in it has behind it what the element itself has.
                found.name += found.boxes.map(outer => holds(outer, box) ? "" : "leaves");
                found.boxes = [];
            } else if (paints || own.includes("overflowX")) found.boxes = [...found.boxes, box];
            if (paints || el.matches(PICTURES)) paint(el, box, found.name);
        }
        around.set(el, found);
        return found;
    }

    // The box of an element's own words.
    function words(el) {
        const range = document.createRange();
        const all = [];
        for (const node of el.childNodes) {
            if (node.nodeType !== Node.TEXT_NODE || !node.data.trim()) continue;
            range.selectNodeContents(node);
            all.push(...range.getClientRects());
        }
        return all.length ? {
            left: Math.min(...all.map(b => b.left)), right: Math.max(...all.map(b => b.right)),
            top: Math.min(...all.map(b => b.top)), bottom: Math.max(...all.map(b => b.bottom)),
        } : null;
    }

    // What a text meets on the page, in or beyond what is around it.
    function place(el, box) {
        const {boxes} = around.get(el);
        const small = box.right - box.left < 2 || box.bottom - box.top < 2;
        const out = box.left < 0 || box.top + scrollY < 0 || box.right > width;
        const left = boxes.map(outer => holds(outer, box) ? "" : meets(outer, box) ? "part" : "out");
        const near = new Set(strips(box).flatMap(k => painted.get(k) ?? []));
        const met = [...near].filter(([other, b]) => meets(b, box) && !other.contains(el)).map(
            ([other, b, name]) => [other.tagName, other.className?.baseVal ?? other.className, name,
                                   holds(b, box), el.contains(other)]);
        return [small, out, left, met].join(";");
    }

    const texts = [];
    for (const el of document.querySelectorAll("body, body *")) {
        el.removeAttribute("data-look");
        if (!el.checkVisibility({opacityProperty: true, visibilityProperty: true})) continue;
        const {right, left, bottom} = el.getBoundingClientRect();
        if (right <= 0 || left >= width || bottom + scrollY <= 0 || look(el).dot) continue;
        const box = words(el);
        if (box || el.matches(FIELDS)) texts.push([el, box]);
    }
    const kinds = new Map();
    for (const [el, box] of texts) {
        const style = getComputedStyle(el);
        const what = el.matches(FIELDS) ? [el.type, !el.value, !el.placeholder] : "";
        const off = el.closest(OFF) ? "off" : "";
        const where = place(el, box ?? el.getBoundingClientRect());
        const name = [around.get(el).name, values(style, LETTERS), what, off, where].join("|");
        const key = number(name);
        if (!kinds.has(key)) kinds.set(key, []);
        kinds.get(key).push(el);
    }
    const done = new Set(known);
    const out = [];
    for (const [key, same] of kinds) {
        if (done.has(key) || (whole.length && (!whole.includes(key) || same.length <= MANY))) continue;
        out.push(key);
        const all = whole.includes(key) || same.length <= MANY;
        const step = all ? 1 : (same.length - 1) / (MANY - 1);
        for (let k = 0; k < same.length; k += step)
            same[Math.min(Math.round(k), same.length - 1)].setAttribute("data-look", key);
    }
    axe.configure({rules: [{id: "color-contrast", selector: "[data-look]"}]});
    return out;
}
