// A sphere of HEALPix pixels to turn by hand: one module without dependencies, for a live kernel (anywidget) and for a page alone.
// First the core: numbers of pixels, decoding, drawing, turning. Below the line "controls": everything around the picture.

const { PI, abs, asin, atan2, ceil, cos, exp, floor, hypot, log, max, min, round, sin, sqrt } = Math;
const RAD = PI / 180, TOP = 32768, HOLE = 65535, SPEED = 0.006; // degrees a millisecond
const clamp = (v, low, high) => min(max(v, low), high);
const mix = (a, b, t) => a + (b - a) * t;

// ---- HEALPix: a direction is [x, y, z]; a place is [face, u, v] with u = column / nside and v = row / nside of the face ----

function locate([dx, dy, dz]) {
  let t = (atan2(dy, dx) * 2 / PI + 4) % 4;
  if (abs(dz) <= 2 / 3) {
    const up = 0.5 + t + 0.75 * dz, down = 0.5 + t - 0.75 * dz, a = floor(up), b = floor(down);
    return [a === b ? 4 + b % 4 : b < a ? b % 4 : 8 + a % 4, up - a, 1 - down + b];
  }
  // hypot / sqrt((1 + |z|) / 3) is sqrt(3 (1 - |z|)), also next to a pole
  const k = floor(t), reach = hypot(dx, dy) / sqrt((1 + abs(dz)) / 3), p = (t - k) * reach, m = (1 - t + k) * reach;
  return dz > 0 ? [k, 1 - m, 1 - p] : [k + 8, p, m];
}

// ---- decoding; `skytutor/widgets/codec.py` says how the bytes are made ----

const LETTERS = Array.from({ length: 94 }, (_, k) => String.fromCharCode(33 + k)).filter((c) => !"&<>".includes(c));

function bytesOf(text, length) { // 13 bits in two of 91 letters
  const value = new Uint8Array(128), out = new Uint8Array(length);
  LETTERS.forEach((c, k) => { value[c.charCodeAt(0)] = k; });
  for (let i = 0, at = 0, bits = 0, held = 0; at < length; i += 2) {
    held = (held << 13) | (value[text.charCodeAt(i)] * 91 + value[text.charCodeAt(i + 1)]);
    for (bits += 13; bits >= 8 && at < length; held &= (1 << bits) - 1) out[at++] = held >> (bits -= 8);
  }
  return out;
}

async function inflate(bytes) {
  if (!globalThis.DecompressionStream) throw Error("browser too old: no DecompressionStream");
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

const NEAR = [[0, -1], [0, -2]].concat([-1, -2].flatMap((a) => [-2, -1, 0, 1, 2].map((b) => [a, b])));
const BEFORE = [[0, 0], [0, -1], [-1, 0]];

// Codes of one map: a Uint16Array of 12 n n for each frame. `map.parts` says where its bytes lie: [start, length] of values and of holes.
async function unpack(map, n, frames, all) {
  const [planes, holes] = await Promise.all(map.parts.map(([start, length]) => length && inflate(all.subarray(start, start + length))));
  const size = 12 * n * n, many = size * frames, codes = new Uint16Array(many), half = TOP / 2;
  const steps = [NEAR, NEAR].map((list, later) => list.map(([a, b]) => a * n + b).concat(later ? BEFORE.map(([a, b]) => a * n + b - size) : []));
  for (let i = 0; i < many; i++) {
    const zigzag = planes[i] * 256 + planes[many + i], left = zigzag & 1 ? -(zigzag + 1) / 2 : zigzag / 2;
    const x = i % n, y = floor(i / n) % n, later = i >= size ? 1 : 0;
    let expected = later ? codes[i - size] : x ? codes[i - 1] : y ? codes[i - n] : half;
    if (n >= 8 && y >= 2 && x >= 2 && x < n - 2) {
      const step = steps[later], weight = map.weights[later];
      let total = 2048;
      for (let k = 0; k < step.length; k++) total += weight[k] * (codes[i + step[k]] - half);
      expected = clamp(floor(total / 4096) + half, 0, TOP);
    }
    codes[i] = (expected + left + TOP + 1) % (TOP + 1);
  }
  if (holes) for (let i = 0; i < many; i++) if (holes[i >> 3] >> (7 - (i & 7)) & 1) codes[i] = HOLE;
  return Array.from({ length: frames }, (_, k) => codes.subarray(k * size, (k + 1) * size));
}

// ---- views: from a place on the canvas, in CSS pixels from the middle of a sphere, y up, to a direction; and back ----

// What the shader and this file need to know of a view: inverse half-axes of the outline, pixels a radian of the gnomonic plane.
function outline(name, width, height, zoom) {
  const r = 0.48 * min(width, height) * zoom, m = 0.48 * min(width / 2, height) * zoom;
  const axes = { globe: [1 / r, 1 / r], mollweide: [0.5 / m, 1 / m], gnomonic: [0, 0] }[name];
  return { axes, plane: 3 * r, scale: { globe: r, mollweide: 0.7 * m, gnomonic: 3 * r }[name] }; // scale: pixels a radian, in the middle
}

function basis(lon, lat) {
  const [a, b] = [lon * RAD, lat * RAD];
  return [[cos(b) * cos(a), cos(b) * sin(a), sin(b)], [sin(a), -cos(a), 0], [-sin(b) * cos(a), -sin(b) * sin(a), cos(b)]];
}

const INVERSE = { // to [toward the reader, right, up]
  globe: (x, y) => [sqrt(max(0, 1 - x * x - y * y)), x, y],
  mollweide(x, y) {
    const t = asin(clamp(y, -1, 1)), up = (2 * t + sin(2 * t)) / PI, lon = PI * x / max(cos(t), 1e-9), flat = sqrt(max(0, 1 - up * up));
    return [flat * cos(lon), flat * sin(lon), up];
  },
  gnomonic(x, y) { const r = hypot(1, x, y); return [1 / r, x / r, y / r]; },
};
const VIEWS = Object.keys(INVERSE);

// ---- drawing: each dot of the canvas asks which pixel lies there, so a frame costs the same at every nside ----

const SHADER = `#version 300 es
precision highp float; precision highp usampler2DArray;
uniform usampler2DArray sky, veil; uniform sampler2D tint;
uniform vec2 middle, axes, range; uniform vec3 turn, net; uniform float ratio, plane, scale; uniform mat3 frame; uniform ivec3 pick; uniform int n;
out vec4 ink;
const float PI = 3.14159265;
vec3 inv(float view, vec2 s, vec2 p) {
  if (view == 0.) return vec3(sqrt(max(0., 1. - dot(s, s))), s);
  if (view == 2.) return normalize(vec3(1, p));
  float t = asin(clamp(s.y, -1., 1.)), up = (2. * t + sin(2. * t)) / PI, lon = PI * s.x / max(cos(t), 1e-6);
  return vec3(sqrt(max(0., 1. - up * up)) * vec2(cos(lon), sin(lon)), up);
}
float near(float v) { return abs(v - round(v)); }
void main() {
  vec2 p = (gl_FragCoord.xy - middle) / ratio, s = p * axes;
  float rim = length(s);
  if (rim > 1.) { ink = vec4(0); return; }
  vec3 w = inv(turn.x, s, p / plane);
  if (turn.z > 0.) w = normalize(mix(w, inv(turn.y, s, p / plane), turn.z));
  vec3 d = frame * w;
  float t = mod(atan(d.y, d.x) * 2. / PI + 4., 4.);
  int f; vec2 uv;
  if (abs(d.z) <= 2. / 3.) {
    float up = .5 + t + .75 * d.z, down = .5 + t - .75 * d.z;
    int a = int(up), b = int(down);
    f = a == b ? 4 + b % 4 : b < a ? b % 4 : 8 + a % 4;
    uv = vec2(up - float(a), 1. - down + float(b));
  } else {
    float k = min(floor(t), 3.), reach = length(d.xy) / sqrt((1. + abs(d.z)) / 3.), a = (t - k) * reach, m = (1. - t + k) * reach;
    f = int(k) + (d.z > 0. ? 0 : 8);
    uv = d.z > 0. ? vec2(1. - m, 1. - a) : vec2(a, m);
  }
  vec2 cell = uv * float(n); ivec3 at = ivec3(clamp(ivec2(cell), 0, n - 1), f);
  uint code = texelFetch(sky, at, 0).r;
  float v = float(code) * range.x + range.y;
  vec3 colour = code == 65535u ? vec3(.5) : texture(tint, vec2(clamp(v, .0003, .9997), .5)).rgb;
  if (net.z > 0. && texelFetch(veil, at, 0).r > 0u) colour = mix(colour, vec3(mod(floor((gl_FragCoord.x + gl_FragCoord.y) / 3. / ratio), 2.) * .4 + .3), .7);
  float far = 9., lat = asin(clamp(d.z, -1., 1.)), side = 1.02 * scale / float(n), inside = side * min(near(cell.x), near(cell.y));
  if (net.x > 0.) far = min(far, scale * net.x * min(near(lat / net.x), near(atan(d.y, d.x) / net.x) * cos(lat)));
  if (mod(net.y, 2.) > 0.) far = min(far, 1.02 * scale * min(near(uv.x), near(uv.y)));
  float line = .6 * (1. - smoothstep(.4, 1.1, far));
  if (net.y > 1.) line = max(line, .3 * smoothstep(9., 16., side) * (1. - smoothstep(.3, .9, inside)));
  colour = mix(colour, vec3(dot(colour, vec3(.3, .6, .1)) < .4 ? 1. : 0.), line);
  if (at == pick && inside < max(2., 4. - side)) colour = vec3(1, .45, 0);
  ink = vec4(colour, 1) * clamp((1. - rim) / max(max(axes.x, axes.y), 1e-9), 0., 1.);
}`;

const CORNERS = `#version 300 es
void main() { gl_Position = vec4(ivec2(gl_VertexID << 1 & 2, gl_VertexID & 2) * 2 - 1, 0, 1); }`;

class Painter {
  constructor(canvas, n, count) {
    const gl = this.gl = canvas.getContext("webgl2", { antialias: false });
    if (!gl) throw Error("no WebGL2");
    const program = gl.createProgram();
    for (const [kind, text] of [[gl.VERTEX_SHADER, CORNERS], [gl.FRAGMENT_SHADER, SHADER]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, text), gl.compileShader(shader), gl.attachShader(program, shader);
    }
    gl.linkProgram(program), gl.useProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw Error(gl.getProgramInfoLog(program));
    this.put = (kind, name, ...values) => gl["uniform" + kind](gl.getUniformLocation(program, name), ...values);
    this.bind = (unit, target, texture) => {
      gl.activeTexture(gl.TEXTURE0 + unit), gl.bindTexture(target, texture);
      for (const side of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(target, side, gl.NEAREST);
    };
    this.n = n, this.maps = Array.from({ length: count + 1 }, () => gl.createTexture());
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1), gl.enable(gl.SCISSOR_TEST), this.put("1i", "n", n);
    ["sky", "veil", "tint"].forEach((name, k) => this.put("1i", name, k));
    this.tints = gl.createTexture();
  }
  load(k, codes) { // map k, or the mask after the last
    const { gl, n } = this, target = gl.TEXTURE_2D_ARRAY;
    this.bind(0, target, this.maps[k]), gl.texImage3D(target, 0, gl.R16UI, n, n, 12, 0, gl.RED_INTEGER, gl.UNSIGNED_SHORT, codes);
  }
  begin(width, height, ratio) {
    const { gl } = this, all = [0, 0, width * ratio, height * ratio];
    gl.viewport(...all), gl.scissor(...all), gl.clear(gl.COLOR_BUFFER_BIT), this.put("1f", "ratio", ratio);
    this.height = height, this.ratio = ratio;
  }
  draw(k, { middle, clip, axes, plane, scale, turn, frame, range, net, pick, tint }) {
    const { gl, ratio, put } = this, [x, y, w, h] = clip, flat = gl.TEXTURE_2D, many = gl.TEXTURE_2D_ARRAY;
    gl.scissor(...[x, this.height - y - h, w, h].map((v) => round(v * ratio)));
    this.bind(0, many, this.maps[k]), this.bind(1, many, this.maps[this.maps.length - 1]), this.bind(2, flat, this.tints);
    gl.texImage2D(flat, 0, gl.RGBA, tint.length / 4, 1, 0, gl.RGBA, gl.UNSIGNED_BYTE, tint);
    put("2f", "middle", middle[0] * ratio, (this.height - middle[1]) * ratio), put("2fv", "axes", axes), put("2fv", "range", range);
    put("3fv", "turn", turn), put("3fv", "net", net), put("1f", "plane", plane), put("1f", "scale", scale), put("3iv", "pick", pick);
    put("Matrix3fv", "frame", false, frame.flat()), gl.drawArrays(gl.TRIANGLES, 0, 3);
  }
}

// Colours of `size` steps, from anchors written as hexadecimal rrggbb; `place` says where a step lies among them, 0 to 1.
function colours(anchors, size, place) {
  const out = new Uint8Array(4 * size), last = anchors.length / 6 - 1, part = (k, c) => parseInt(anchors.substr(6 * k + 2 * c, 2), 16);
  for (let i = 0; i < size; i++) {
    const t = clamp(place((i + 0.5) / size), 0, 1) * last, k = min(floor(t), last - 1);
    for (let c = 0; c < 4; c++) out[4 * i + c] = c < 3 ? round(mix(part(k, c), part(k + 1, c), t - k)) : 255;
  }
  return out;
}

// ---- the view: its state lives in a model, the kernel's or this stand-in; a change of it redraws ----

class Local {
  constructor(state) { this.state = state, this.calls = {}; }
  get(key) { return this.state[key]; }
  set(key, value) { if (this.state[key] !== value) this.state[key] = value, this.calls["change:" + key]?.forEach((call) => call()); }
  on(name, call) { (this.calls[name] ||= []).push(call); }
  off() {}
  save_changes() {}
}

const WATCHED = "lon lat zoom projection frame cmap palette scaling low high graticule borders pixels mask vectors swipe nested auto_turn".split(" ");
const make = (name, into, props = {}) => into.appendChild(Object.assign(document.createElement(name), props)),
  // in the place of a sphere that cannot be drawn: why
  fail = (el, error) => make("p", el, { textContent: `The map cannot be shown: ${error.message}.` }).setAttribute("role", "alert"),
  still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

class Sphere {
  constructor(el, model, spec, maps) {
    Object.assign(this, { el, model, spec, maps, n: spec.nside, after: [], spun: 0 });
    this.shown = spec.maps.flatMap((map, k) => map.role ? [] : [k]); // the rest: a mask, Q, U
    this.veil = spec.maps.findIndex((map) => map.role === "mask");
    this.was = this.is = max(0, VIEWS.indexOf(model.get("projection")));
    const stage = this.stage = make("div", el, { className: "sky-stage", tabIndex: 0 });
    el.prepend(stage); // before the words that stood there first
    if (spec.title) { // of several maps, each of which has its own
      const head = make("strong", el, { className: "sky-head", textContent: spec.title });
      head.style.cssText = "display:block;text-align:center;overflow-wrap:anywhere", el.prepend(head);
    }
    stage.style.cssText = `position:relative;height:${spec.height}px;touch-action:none;cursor:grab;user-select:none`;
    stage.setAttribute("role", "application"), stage.setAttribute("aria-label", spec.label);
    const { lon, lat, zoom } = spec.state;
    this.home = { lon, lat, zoom };
    this.calls = WATCHED.map((key) => ["change:" + key, () => this.changed(key)]);
    this.calls.forEach(([name, call]) => model.on(name, call));
    for (const name of "pointerdown pointermove pointerup pointercancel pointerleave wheel dblclick keydown".split(" ")) this[name] && stage.addEventListener(name, (event) => {
      if (/down|wheel/.test(name)) this.rest();
      this[name](event);
    }, { passive: false });
    this.watch = new IntersectionObserver((seen) => { this.visible = seen.pop().isIntersecting, this.ask(), this.spin(); });
    this.watch.observe(stage), (this.sizes = new ResizeObserver(() => this.ask())).observe(stage);
  }
  get(key) { const value = this.model.get(key); return key === "lon" ? value + this.spun : value; }
  set(values) {
    if ("lon" in values) this.spun = 0;
    for (const key in values) this.model.set(key, values[key]);
    this.saving ||= setTimeout(() => { this.saving = 0, this.model.save_changes(); }, 60);
  }
  changed(key) {
    if (key === "projection") this.was = this.is, this.is = max(0, VIEWS.indexOf(this.get(key))), this.morph = still() ? 0 : performance.now();
    if (key === "frame") this.loaded = false;
    if (key === "lon") this.spun = 0;
    if (key === "auto_turn") this.spin();
    this.ask();
  }
  // Turning by itself adds to the longitude of this view alone; the model hears of it when a hand stops it.
  // Nothing runs while the globe or its tab is out of sight; under a mouse that reads pixels it waits.
  spin(before) {
    cancelAnimationFrame(this.spinning);
    if (!this.get("auto_turn") || !this.visible || still()) return;
    this.spinning = requestAnimationFrame((now) => {
      if (before && !this.stage.matches(":hover")) this.spun = (this.spun + SPEED * min(now - before, 100)) % 360, this.ask();
      this.spin(now);
    });
  }
  rest() { if (this.get("auto_turn")) this.set({ auto_turn: false }), this.turnTo(this.get("lon"), this.get("lat")); }
  ask() { this.asked ||= requestAnimationFrame(() => { this.asked = 0; if (this.visible || !this.painter) this.draw(); }); }
  codes(k) { const frames = this.maps[k]; return frames[clamp(this.get("frame"), 0, frames.length - 1)]; }
  paint(Kind) {
    this.canvas = make("canvas", this.stage), this.canvas.style.cssText = "position:absolute;inset:0;width:100%;height:100%", this.loaded = false;
    try { this.painter = new Kind(this.canvas, this.n, this.shown.length); } catch (error) { this.canvas.remove(); throw error; }
  }
  wake() { try { this.paint(Painter); } catch (error) { this.stage.remove(), fail(this.el, error), this.ask = this.draw = () => {}; } }
  cells() { // where each map is drawn: its middle, and the part of the canvas it may fill
    const [width, height] = this.area, count = this.shown.length, columns = clamp(floor(width / 220), 1, count), w = width / columns, h = height / ceil(count / columns);
    return this.shown.map((_, k) => { const x = k % columns * w, y = floor(k / columns) * h; return { middle: [x + w / 2, y + h / 2], clip: [x, y, w, h], width: w, height: h }; });
  }
  get area() { return [this.stage.clientWidth, this.stage.clientHeight]; }
  placing() { return (t) => t; }
  anchors() { return this.get("palette"); }
  tint() {
    const key = ["low", "high", "palette", "cmap", "scaling", "frame"].map((name) => this.get(name)).join();
    if (key !== this.tinted) this.tinted = key, this.table = colours(this.anchors(), 2048, this.placing());
    return this.table;
  }
  draw() {
    const [width, height] = this.area, ratio = min(devicePixelRatio, 2), { painter, canvas } = this, get = (key) => this.get(key);
    if (!width) return;
    if (!painter) return this.wake(), this.draw();
    if (!this.loaded) this.shown.forEach((k, i) => painter.load(i, this.codes(k))), painter.load(this.shown.length, this.veil < 0 ? new Uint16Array(12 * this.n ** 2) : this.codes(this.veil)), this.loaded = true;
    const [w, h] = this.area.map((v) => round(v * ratio));
    if (canvas.width !== w || canvas.height !== h) canvas.width = w, canvas.height = h;
    const t = this.morph ? min((performance.now() - this.morph) / 700, 1) : 1, blend = t < 1 ? t * t * (3 - 2 * t) : 0, zoom = get("zoom"), turn = [t < 1 ? this.was : this.is, this.is, blend],
      net = [get("graticule") * (zoom > 10 ? 5 : zoom > 3 ? 15 : 30) * RAD, get("borders") + 2 * get("pixels"), +(this.veil >= 0 && get("mask"))],
      frame = basis(get("lon"), get("lat")), tint = this.tint(), pick = this.picked || [-1, 0, 0];
    painter.begin(width, height, ratio);
    this.cells().forEach((cell, i) => {
      const [a, b] = turn.slice(0, 2).map((view) => outline(VIEWS[view], cell.width, cell.height, zoom)),
        { low, high } = this.spec.maps[this.shown[i]], start = get("low"), span = high - low,
        // colours: a graphics card counts in 32 bits, too few for a narrower range than this
        wide = max(get("high") - start, span * 1e-30) || 1,
        // from a code to its place among them
        range = [span / TOP / wide, (low - start) / wide],
        axes = [0, 1].map((c) => mix(a.axes[c], b.axes[c], blend));
      painter.draw(i, { ...cell, axes, plane: b.plane, scale: mix(a.scale, b.scale, blend), turn, frame, range, net, pick, tint });
    });
    this.after.forEach((call) => call(blend));
    if (t < 1) this.ask(); else this.morph = 0;
  }
  get scale() { const { width, height } = this.cells()[0]; return outline(VIEWS[this.is], width, height, this.get("zoom")).scale; }
  move(dx, dy) { const d = 1 / this.scale / RAD; if (d < 1e9) this.turnTo(this.get("lon") + dx * d / max(cos(this.get("lat") * RAD), 0.2), this.get("lat") + dy * d); }
  turnTo(lon, lat) { this.set({ lon: ((lon + 180) % 360 + 360) % 360 - 180, lat: clamp(lat, -90, 90) }); }
  enlarge(factor) { this.set({ zoom: clamp(this.get("zoom") * factor, 0.5, 400) }); }
  pointerdown(e) {
    if (e.button > 0 || this.from) return;
    this.from = [e.clientX, e.clientY], this.finger = e.pointerId;
    // a pointer that a script made up cannot be captured
    try { this.stage.setPointerCapture(e.pointerId); } catch {}
  }
  pointermove(e) { if (this.from && e.pointerId === this.finger) this.move(e.clientX - this.from[0], e.clientY - this.from[1]), this.from = [e.clientX, e.clientY]; }
  pointerup(e) { if (e.pointerId === this.finger) this.from = null; }
  pointercancel(e) { this.pointerup(e); }
  wheel(e) {
    e.preventDefault(), this.enlarge(exp(-clamp(e.deltaY, -200, 200) * (e.ctrlKey ? 0.01 : 0.002)));
  }
  keydown(e) {
    const step = { ArrowLeft: [40, 0], ArrowRight: [-40, 0], ArrowUp: [0, 40], ArrowDown: [0, -40] }[e.key], factor = { "+": 1.25, "=": 1.25, "-": 0.8 }[e.key];
    if (e.ctrlKey || e.metaKey || e.altKey || !(step || factor || e.key === "Home")) return;
    e.preventDefault(), step ? this.move(...step) : factor ? this.enlarge(factor) : this.set(this.home);
  }
  destroy() { this.calls.forEach(([name, call]) => this.model.off(name, call)), this.watch.disconnect(), this.sizes.disconnect(), cancelAnimationFrame(this.spinning); }
}

// ---- ways in: a kernel's model, or an element of a page that holds the map ----

let View = Sphere; // the controls put theirs here

// Show maps in `el`, or in the view that stands there already; `late` says that newer ones have come meanwhile.
async function mount(el, model, spec, bytes, late) {
  try {
    const maps = await Promise.all(spec.maps.map((map) => unpack(map, spec.nside, map.frames, bytes)));
    if (late?.()) return;
    if (el.sphere) Object.assign(el.sphere, { spec, maps, loaded: false, tinted: "" }).changed("data");
    else el.sphere = new View(el, model, spec, maps);
  } catch (error) {
    fail(el, error);
  }
}

async function render({ model, el }) {
  let turn = 0;
  const show = async () => { // maps that differ by a factor have the same data: the spec tells
    const mine = ++turn, late = () => mine < turn;
    await 0;
    const data = model.get("data");
    if (!late()) await mount(el, model, JSON.parse(model.get("spec")), new Uint8Array(data.buffer || data, data.byteOffset || 0, data.byteLength), late);
  };
  const keys = ["change:spec", "change:data"];
  keys.forEach((key) => model.on(key, show)), await show();
  return () => { keys.forEach((key) => model.off(key, show)), turn++, el.sphere?.destroy(); };
}

if (globalThis.document) queueMicrotask(() => {
  for (const el of document.querySelectorAll(".sky-sphere:not([data-shown])" + (View === Sphere ? "[data-bare]" : ":not([data-bare])"))) {
    const [spec, text] = [...el.querySelectorAll("script")].map((part) => part.textContent.trim()), known = JSON.parse(spec);
    el.dataset.shown = "", el.querySelector(".sky-why")?.remove(), mount(el, new Local(known.state), known, bytesOf(text, known.bytes));
  }
});

export default { render };

// ==== controls ====

// ---- numbers of pixels, and places of directions ----

const spread = (v) => { let out = 0; for (let k = 0; v >> k; k++) out += ((v >> k) & 1) * 4 ** k; return out; };
export function numbers(f, y, x, n) {
  const row = f >> 2, i = (2 + row) * n - x - y - 1, south = 4 * n - i, quarter = min(i, south, n);
  const start = i < n ? 2 * i * (i - 1) : south < n ? 12 * n * n - 2 * south * (south + 1) : 2 * n * (n - 1) + (i - n) * 4 * n;
  const odd = quarter === n ? (i - n) & 1 : 0, around = 4 * quarter;
  const j = floor(((2 * (f % 4) + (row !== 1)) * quarter + x - y - 1 + odd) / 2);
  return { nested: f * n * n + spread(x) + 2 * spread(y), ring: start + (j + around) % around };
}

export function pixel(d, n) {
  const [f, u, v] = locate(d), x = clamp(floor(u * n), 0, n - 1), y = clamp(floor(v * n), 0, n - 1);
  return { f, y, x, at: (f * n + y) * n + x, ...numbers(f, y, x, n) };
}

export function direction([f, u, v]) {
  const row = f >> 2, ring = row + 2 - u - v, q = min(ring, 4 - ring, 1);
  const drop = q * q / 3, z = q < 1 ? (ring < 2 ? 1 - drop : drop - 1) : (2 - ring) * 2 / 3;
  const flat = q < 1 ? sqrt(drop * (2 - drop)) : sqrt(1 - z * z);
  const phi = PI / 4 * (2 * (f % 4) + (row !== 1) + (q > 0 ? (u - v) / q : 0));
  return [flat * cos(phi), flat * sin(phi), z];
}

const gather = (v) => { let out = 0; for (let k = 0; v >= 1; k++, v = floor(v / 4)) out += (v % 2) << k; return out; };

export function nestedPlace(p, n) {
  const inside = p % (n * n);
  return [floor(p / n / n), (gather(inside) + 0.5) / n, (gather(floor(inside / 2)) + 0.5) / n];
}

export function toPlace(name, d, width, height, { lon, lat, zoom }) {
  const { axes, plane } = outline(name, width, height, zoom);
  const [w, x, y] = basis(lon, lat).map((b) => b[0] * d[0] + b[1] * d[1] + b[2] * d[2]);
  if (name === "globe") return w > 0 ? [x / axes[0], y / axes[1]] : null;
  if (name === "gnomonic") return w > 0.05 ? [x / w * plane, y / w * plane] : null;
  let t = asin(clamp(y, -1, 1));
  for (let k = 0; k < 30 && abs(y) < 1; k++) t -= (2 * t + sin(2 * t) - PI * y) / max(2 + 2 * cos(2 * t), 1e-6);
  return [atan2(x, w) / PI * cos(t) / axes[0], sin(t) / axes[1]];
}

export function toDirection(name, x, y, width, height, { lon, lat, zoom }) {
  const { axes, plane } = outline(name, width, height, zoom), [sx, sy] = [x * axes[0], y * axes[1]];
  if (sx * sx + sy * sy > 1) return null;
  const w = name === "gnomonic" ? INVERSE.gnomonic(x / plane, y / plane) : INVERSE[name](sx, sy), b = basis(lon, lat);
  return [0, 1, 2].map((k) => w[0] * b[0][k] + w[1] * b[1][k] + w[2] * b[2][k]);
}

// The same picture without WebGL2, dot by dot on a 2D canvas; without lines.
class SoftPainter {
  constructor(canvas, n) { this.canvas = canvas, this.n = n, this.maps = []; }
  load(k, codes) { this.maps[k] = codes; }
  begin(width, height, ratio) { this.ratio = ratio, this.canvas.getContext("2d").clearRect(0, 0, width * ratio, height * ratio); }
  draw(k, { middle, clip, axes, plane, turn, frame, range, tint }) {
    const { ratio, n } = this, [x0, y0, w, h] = clip.map((v) => round(v * ratio)), half = tint.length / 4;
    if (!(w && h)) return;
    const image = new ImageData(w, h);
    const view = VIEWS[turn[turn[2] > 0.5 ? 1 : 0]];
    for (let j = 0, o = 0; j < h; j++) for (let i = 0; i < w; i++, o += 4) {
      const x = (x0 + i + 0.5) / ratio - middle[0], y = middle[1] - (y0 + j + 0.5) / ratio, sx = x * axes[0], sy = y * axes[1];
      if (sx * sx + sy * sy > 1) continue;
      const v = view === "gnomonic" ? INVERSE.gnomonic(x / plane, y / plane) : INVERSE[view](sx, sy);
      const code = this.maps[k][pixel([0, 1, 2].map((c) => frame[0][c] * v[0] + frame[1][c] * v[1] + frame[2][c] * v[2]), n).at];
      const at = code === HOLE ? -1 : 4 * clamp(floor((code * range[0] + range[1]) * half), 0, half - 1);
      for (let c = 0; c < 3; c++) image.data[o + c] = at < 0 ? 128 : tint[at + c];
      image.data[o + 3] = 255;
    }
    this.canvas.getContext("2d").putImageData(image, x0, y0);
  }
}

// ---- what stands around the picture ----

const STYLE = `.sky-sphere,.sky-live{max-width:100%;color:inherit;font-size:.9rem;line-height:1.4}
.sky-stage:active{cursor:grabbing}
.sky-sphere [hidden],.sky-live [hidden]{display:none}
.sky-bar,.sky-part{display:flex;flex-wrap:wrap;gap:.35rem .75rem;align-items:center}
.sky-bar{margin:.35rem 0}
.sky-part{flex:1 1 15rem;flex-wrap:nowrap}
.sky-panel{border:1px solid #8888;border-radius:.4rem;padding:.1rem .6rem;margin:.35rem 0}
.sky-bar button,.sky-bar select{font:inherit;color:inherit;background:transparent;border:1px solid currentColor;border-radius:.3rem;padding:.1rem .5rem;min-height:1.75rem;cursor:pointer}
.sky-bar option{color:CanvasText;background:Canvas}
.sky-bar .sky-more{min-width:2.5rem;font-weight:700}
.sky-play{min-width:4.2rem}
.sky-bar button[aria-pressed=true],.sky-bar button[aria-expanded=true]{box-shadow:inset 0 0 0 2px currentColor;font-weight:600}
.sky-bar label{display:inline-flex;gap:.3rem;align-items:center}
.sky-panel label{flex:1 1 9rem;min-width:0;max-width:16rem}
.sky-panel select{flex:1;min-width:0}
.sky-part label{flex:1}
.sky-bar input[type=range]{flex:1 1 4rem;min-width:4rem;max-width:14rem}
.sky-scale{position:relative;height:1.5rem;flex:1 1 0;max-width:26rem}
.sky-scale canvas{position:absolute;left:8px;width:calc(100% - 16px);top:.35rem;height:.8rem;border:1px solid currentColor;box-sizing:border-box}
.sky-bar .sky-scale input{position:absolute;inset:0;width:100%;max-width:none;margin:0;height:1.5rem;background:none;appearance:none;-webkit-appearance:none;pointer-events:none}
.sky-scale input::-webkit-slider-runnable-track{background:none}
.sky-scale input::-webkit-slider-thumb{appearance:none;-webkit-appearance:none;pointer-events:auto;width:16px;height:24px;border:2px solid #222;border-radius:4px;background:#fff;cursor:ew-resize}
.sky-scale input::-moz-range-track{background:none}
.sky-scale input::-moz-range-thumb{pointer-events:auto;width:12px;height:20px;border:2px solid #222;border-radius:4px;background:#fff}
.sky-title{position:absolute;pointer-events:none;text-align:center;font-weight:600;overflow:hidden;white-space:nowrap;text-overflow:ellipsis}
.sky-read{display:block;min-height:1.4em;font-variant-numeric:tabular-nums}
.sky-summary{margin:.2rem 0;opacity:.85}
.sky-bar span,.sky-read,.sky-summary{overflow-wrap:anywhere}
@media(pointer:coarse){.sky-bar button,.sky-bar select{min-height:2.5rem}}`;

// Anchors of colour maps that colour-blind readers can tell apart; the last is the one of the Planck collaboration's maps.
const PALETTES = {
  cividis: "00224e1a386f434e6c61656f7d7c789b9476bcae6cdec958fee838",
  viridis: "440154472d7b3b528b2c728e21918c28ae805ec962addc30fde725",
  magma: "0000041d114751127c832681b73779e75263fc8961fec488fcfdbf",
  "blue-red": "0530612065ab4393c390c4ddd1e5f0f7f6f6fddbc7f3a481d6604db1182b67001f",
  grey: "0000007f7f7fffffff",
  planck: "0000ff0070ff00ddffffedd9ffb400ff4b00640000",
};
const NAMES = { globe: "Globe", mollweide: "Whole sky (Mollweide)", gnomonic: "Close up (gnomonic)", linear: "linear", symlog: "symmetric log", histogram: "histogram" };
const TOGGLES = { graticule: "Grid", borders: "Base pixels", pixels: "Pixels", mask: "Mask", vectors: "Polarisation", auto_turn: "Turn" };
const decode = (map, code) => map.low + code / TOP * (map.high - map.low);
const short = (v, digits = 4) => v === 0 ? "0" : Number(v.toPrecision(digits)).toString();

class Desk extends Sphere {
  constructor(el, model, spec, maps) {
    super(el, model, spec, maps);
    this.fingers = new Map(), this.speed = [0, 0], this.picked = null;
    const root = el.getRootNode(), home = root.head || root;
    if (!root.querySelector("style[data-sky]")) make("style", home, { textContent: STYLE }).dataset.sky = "";
    this.read = make("output", el, { className: "sky-read", textContent: "\u00a0" }), this.read.setAttribute("aria-live", "off");
    this.titles = this.shown.map((k) => make("div", this.stage, { className: "sky-title", textContent: spec.maps[k].title }));
    this.over = make("canvas", this.stage), this.over.style.cssText = "position:absolute;inset:0;width:100%;height:100%;pointer-events:none";
    this.bars(el), this.after.push((blend) => this.surround(blend)), this.changed("nested");
  }

  // -- controls; each shows the model's value and sets it --
  choice(into, label, key, names) {
    const box = make("select", make("label", into, { textContent: label }));
    for (const name of names) make("option", box, { value: name, textContent: NAMES[name] || name });
    box.onchange = () => this.set({ [key]: box.value }), this.show(key, () => {
      const name = this.get(key);
      if (!(name in NAMES || [...box.options].some((one) => one.value === name))) make("option", box, { value: name, textContent: name });
      box.value = name;
    });
  }
  show(key, call) { this.calls.push(["change:" + key, call]), this.model.on("change:" + key, call), call(); }
  button(into, text, call, label = text) { const one = make("button", into, { type: "button", textContent: text, onclick: call }); one.setAttribute("aria-label", label); return one; }
  // In sight: the button for the rest, frames, the border between two maps, colours. The rest lies in a panel.
  bars(el) {
    const { spec } = this, bar = make("div", el, { className: "sky-bar" }), name = "sky-" + Math.random().toString(36).slice(2);
    const panel = make("div", el, { className: "sky-panel", id: name, hidden: true }), row = () => make("div", panel, { className: "sky-bar" });
    const more = this.button(bar, "\u22ef", () => open(panel.hidden), "Controls"), part = () => make("div", bar, { className: "sky-part" });
    const open = (shown) => {
      panel.hidden = !shown, more.setAttribute("aria-expanded", shown);
      for (const end of this.ends) end.hidden = !shown;
    };
    more.className = "sky-more", more.title = "Controls", more.setAttribute("aria-controls", name);
    panel.setAttribute("role", "group"), panel.setAttribute("aria-label", "All controls");
    el.addEventListener("keydown", (e) => { if (e.key === "Escape" && !panel.hidden) e.stopPropagation(), open(false), more.focus(); });
    if (spec.labels) this.player(part());
    this.choices(row());
    const toggles = row();
    this.toggles(toggles);
    if (this.shown.length === 2) this.swiper(toggles, part());
    this.scaleBar(part()), open(false);
    const text = this.summary = make("p", panel, { className: "sky-summary", textContent: spec.summary, id: name + "-text" });
    this.stage.setAttribute("aria-describedby", text.id), el.querySelectorAll("[data-instead]").forEach((node) => node.remove());
  }
  choices(into) {
    this.choice(into, "View", "projection", VIEWS);
    const own = this.get("cmap") in PALETTES ? [] : [this.get("cmap")];
    this.choice(into, "Colours", "cmap", [...own, ...Object.keys(PALETTES)]), this.choice(into, "Scale", "scaling", Object.keys(NAMES).slice(3));
  }
  toggles(into) {
    const without = { mask: this.veil < 0, vectors: !this.spec.maps.some((map) => map.role === "Q"), auto_turn: still() };
    for (const key in TOGGLES) {
      if (without[key]) continue;
      const one = this.button(into, TOGGLES[key], () => this.set({ [key]: !this.get(key) }));
      this.show(key, () => one.setAttribute("aria-pressed", !!this.get(key)));
    }
    this.button(into, "+", () => this.enlarge(1.5), "Zoom in"), this.button(into, "\u2212", () => this.enlarge(1 / 1.5), "Zoom out");
    this.button(into, "Home", () => this.set(this.home), "Home: back to the first view"), this.button(into, "PNG", () => this.save(), "PNG: save a picture");
  }
  scaleBar(into) {
    const [low, high] = this.spec.limits, ends = {}, value = (v) => low + v / 1000 * (high - low);
    const before = make("span", into), box = make("div", into, { className: "sky-scale" }), after = make("span", into);
    this.ramp = make("canvas", box, { width: 512, height: 1 }), this.ends = [];
    for (const key of ["low", "high"]) {
      const end = ends[key] = make("input", box, { type: "range", min: 0, max: 1000, step: 1 });
      this.ends.push(end), end.setAttribute("aria-label", key === "low" ? "Lowest value of the colours" : "Highest value of the colours");
      end.oninput = () => {
        if (+ends.low.value >= +ends.high.value) end.value = key === "low" ? ends.high.value - 1 : +ends.low.value + 1;
        this.set({ [key]: value(+end.value) });
      };
      this.show(key, () => {
        if (abs(value(+end.value) - this.get(key)) > abs(high - low) / 1000) end.value = round((this.get(key) - low) / (high - low || 1) * 1000);
        const text = this.end(key), unit = this.spec.unit;
        end.setAttribute("aria-valuetext", `${text} ${unit}`), ends.low.style.zIndex = +(+ends.low.value > 500);
        if (key === "low") before.textContent = text; else after.textContent = `${text} ${unit}`;
      });
    }
  }
  end(key) { // an end of the colours in words: three digits, naught if it is small beside the other
    const [v, low, high] = [key, "low", "high"].map((name) => this.get(name));
    return short(abs(v) < 1e-4 * abs(high - low) ? 0 : v, 3);
  }
  swiper(into, beside) {
    const one = this.button(into, "Swipe", () => this.set({ swipe: this.get("swipe") < 0 ? 0.5 : -1 }), "Swipe: lay the two maps over each other");
    const at = make("input", make("label", beside, { textContent: "Border at" }), { type: "range", min: 0, max: 1, step: 0.01, oninput: () => this.set({ swipe: +at.value }) });
    this.show("swipe", () => { const v = this.get("swipe"); one.setAttribute("aria-pressed", v >= 0), beside.hidden = at.disabled = v < 0; if (v >= 0) at.value = v; });
  }
  player(into) {
    const last = this.spec.labels.length - 1, stop = () => { clearInterval(this.playing), this.playing = 0; };
    const step = () => this.stage.isConnected ? this.set({ frame: (this.get("frame") + 1) % (last + 1) }) : stop();
    const play = this.button(into, "Play", () => {
      if (this.playing) stop(); else this.playing = setInterval(step, 1000 / this.spec.fps);
      play.textContent = this.playing ? "Pause" : "Play", play.setAttribute("aria-label", play.textContent);
    });
    const at = make("input", into, { type: "range", min: 0, max: last, step: 1, oninput: () => this.set({ frame: +at.value }) }), label = make("span", into);
    play.className = "sky-play", at.setAttribute("aria-label", "Frame");
    this.show("frame", () => { at.value = this.get("frame"), label.textContent = this.spec.labels[this.get("frame")], at.setAttribute("aria-valuetext", label.textContent); });
  }

  // -- colours --
  anchors() { return PALETTES[this.get("cmap")] || super.anchors(); }
  placing() {
    const low = this.get("low"), high = this.get("high"), span = high - low || 1, fold = max(abs(low), abs(high)) / 100 || 1;
    const g = (v) => Math.sign(v) * Math.log1p(abs(v) / fold), kind = this.get("scaling");
    if (kind === "symlog") return (t) => (g(low + t * span) - g(low)) / (g(high) - g(low) || 1);
    if (kind !== "histogram") return (t) => t;
    const count = new Float64Array(2049);
    this.shown.forEach((k) => {
      const map = this.spec.maps[k];
      for (const code of this.codes(k)) if (code !== HOLE) count[1 + clamp(floor((decode(map, code) - low) / span * 2048), 0, 2047)]++;
    });
    for (let k = 1; k < 2049; k++) count[k] += count[k - 1];
    return (t) => count[floor(t * 2048)] / (count[2048] || 1);
  }

  // -- drawn after the sphere: titles, colour bar, headless vectors --
  surround(blend) {
    const cells = this.cells();
    cells.forEach(({ clip: [x, y, w] }, i) => Object.assign(this.titles[i].style, { left: x + "px", top: y - 22 + "px", width: w + "px" }));
    if (this.ramped !== this.tinted) this.ramped = this.tinted, this.ramp.getContext("2d").putImageData(new ImageData(new Uint8ClampedArray(colours(this.anchors(), 512, this.placing())), 512, 1), 0, 0);
    const [width, height] = this.area, ratio = min(devicePixelRatio || 1, 2), { over } = this;
    over.width = width * ratio, over.height = height * ratio;
    const pen = over.getContext("2d");
    pen.scale(ratio, ratio);
    if (cells.length === 2 && this.get("swipe") >= 0) pen.fillRect(this.get("swipe") * width - 1, 0, 2, height);
    if (this.get("vectors") && !blend) cells.forEach((cell) => this.vectors(pen, cell));
  }
  vectors(pen, cell) {
    const [q, u] = ["Q", "U"].map((role) => this.spec.maps.findIndex((map) => map.role === role)), state = this.looking;
    if (q < 0) return;
    let m = 1;
    while (m < this.n && m < 256 && this.scale / m > 22) m *= 2;
    const { list, top } = this.coarse(q, u, m), reach = 0.55 * this.scale / m, [cx, cy] = cell.middle, name = VIEWS[this.is];
    const seen = name === "mollweide" && state.zoom < 3 ? PI : 1.5 * hypot(cell.width, cell.height) / this.scale, least = seen < PI ? cos(seen) : -2, { centre } = this;
    pen.save(), pen.beginPath(), pen.rect(...cell.clip), pen.clip(), pen.beginPath();
    for (const { d, south, east, size, angle } of list) {
      if (d[0] * centre[0] + d[1] * centre[1] + d[2] * centre[2] < least) continue; // far outside the canvas
      const at = toPlace(name, d, cell.width, cell.height, state);
      if (!at || abs(at[0]) > cell.width || abs(at[1]) > cell.height) continue;
      const [c, s] = [cos(angle), sin(angle)], tip = toPlace(name, d.map((v, k) => v + 1e-3 * (c * south[k] + s * east[k])), cell.width, cell.height, state);
      if (!tip) continue;
      // shorter where the projection crowds the places, never much longer
      const [dx, dy] = [tip[0] - at[0], tip[1] - at[1]], far = hypot(dx, dy), k = reach * min(size / top, 1) / max(1e-3 * this.scale, far / 1.5);
      if (far < this.scale) pen.moveTo(cx + at[0] - k * dx, cy - at[1] + k * dy), pen.lineTo(cx + at[0] + k * dx, cy - at[1] - k * dy);
    }
    pen.lineCap = "round";
    for (const [style, width] of [["#fff", 3.5], ["#000", 1.6]]) pen.strokeStyle = style, pen.lineWidth = width, pen.stroke();
    pen.restore();
  }
  coarse(q, u, m) { // means of Q and U over the pixels of nside m; angles from south towards east, HEALPix' convention
    const key = [m, this.get("frame")].join();
    if (this.coarseKey === key) return this.coarsened;
    const step = this.n / m, list = [], read = (k, at) => { const code = this.codes(k)[at]; return code === HOLE ? NaN : decode(this.spec.maps[k], code); };
    for (let f = 0; f < 12; f++) for (let y = 0; y < m; y++) for (let x = 0; x < m; x++) {
      let [a, b] = [0, 0];
      for (let j = 0; j < step; j++) for (let i = 0; i < step; i++) { const at = (f * this.n + y * step + j) * this.n + x * step + i; a += read(q, at), b += read(u, at); }
      const d = direction([f, (x + 0.5) / m, (y + 0.5) / m]), flat = hypot(d[0], d[1]), east = [-d[1] / flat, d[0] / flat, 0], south = [d[2] * east[1], -d[2] * east[0], -flat];
      if (a === a && b === b) list.push({ d, south, east, size: hypot(a, b), angle: atan2(b, a) / 2 });
    }
    const sizes = list.map((one) => one.size).sort((a, b) => a - b);
    this.coarseKey = key;
    return this.coarsened = { list, top: sizes[floor(sizes.length * 0.95)] || 1 };
  }

  // -- reading and turning --
  cells() {
    const [width, height] = this.area, at = this.get("swipe");
    const cells = this.shown.length !== 2 || !(at >= 0) ? super.cells()
      : [[0, at * width], [at * width, width]].map(([a, b]) => ({ middle: [width / 2, height / 2], clip: [a, 0, b - a, height], width, height }));
    const top = this.titles && this.titles.some((one) => one.textContent) ? 22 : 0; // room for the titles
    return cells.map(({ middle: [x, y], clip: [a, b, w, h], width, height }) => ({ middle: [x, y + top / 2], clip: [a, b + top, w, h - top], width, height: height - top }));
  }
  under(event) { // the direction under a pointer
    const box = this.stage.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
    const cell = this.cells().find(({ clip: [a, b, w, h] }) => x >= a && x < a + w && y >= b && y < b + h);
    return cell && toDirection(VIEWS[this.is], x - cell.middle[0], cell.middle[1] - y, cell.width, cell.height, this.looking);
  }
  get looking() { return { lon: this.get("lon"), lat: this.get("lat"), zoom: this.get("zoom") }; }
  get centre() { return basis(this.get("lon"), this.get("lat"))[0]; }
  tell(d, live = "off") {
    this.read.setAttribute("aria-live", live), this.told = d;
    if (!d) { this.read.textContent = "\u00a0"; return; }
    const found = pixel(d, this.n), lon = (atan2(d[1], d[0]) / RAD + 360) % 360, lat = atan2(d[2], hypot(d[0], d[1])) / RAD;
    const values = this.shown.map((k) => { const code = this.codes(k)[found.at]; return code === HOLE ? "no value" : short(decode(this.spec.maps[k], code)); });
    this.read.textContent = `lon ${lon.toFixed(2)}\u00b0, lat ${lat.toFixed(2)}\u00b0 \u00b7 pixel ${found.ring} (RING), ${found.nested} (NESTED) \u00b7 ${values.join(" | ")} ${this.spec.unit}`;
  }
  changed(key) {
    if (key === "nested" && this.fingers) {
      const p = this.get("nested"), [f, u, v] = nestedPlace(max(p, 0), this.n);
      this.picked = p >= 0 ? [floor(u * this.n), floor(v * this.n), f] : null;
    }
    if (key === "frame" && this.told) this.tell(this.told);
    if (key === "data") this.summary.textContent = this.spec.summary, this.coarseKey = "";
    super.changed(key);
  }
  choose(d) { if (d) this.set({ nested: pixel(d, this.n).nested }), this.tell(this.kept = d, "polite"); }
  pointerdown(e) {
    if (e.button > 0) return;
    super.pointerdown(e), cancelAnimationFrame(this.gliding), this.speed = [0, 0], this.time = e.timeStamp;
    this.pressed = this.fingers.size ? null : [e.clientX, e.clientY], this.fingers.set(e.pointerId, [e.clientX, e.clientY]);
  }
  pointermove(e) {
    const from = this.fingers.get(e.pointerId), here = [e.clientX, e.clientY], other = [...this.fingers].find(([id]) => id !== e.pointerId);
    if (!from) { this.tell(this.under(e)); return; }
    const [dx, dy] = [here[0] - from[0], here[1] - from[1]], dt = max(e.timeStamp - this.time, 1);
    if (other) this.enlarge(hypot(here[0] - other[1][0], here[1] - other[1][1]) / max(hypot(from[0] - other[1][0], from[1] - other[1][1]), 1));
    else this.move(dx, dy), this.speed = [mix(dx / dt, this.speed[0], 0.5), mix(dy / dt, this.speed[1], 0.5)], this.time = e.timeStamp;
    this.fingers.set(e.pointerId, here);
  }
  pointercancel(e) { this.pressed = null, this.speed = [0, 0], this.pointerup(e); }
  pointerup(e) {
    super.pointerup(e);
    if (!this.fingers.delete(e.pointerId)) return;
    if (this.pressed && hypot(e.clientX - this.pressed[0], e.clientY - this.pressed[1]) < 4) this.choose(this.under(e));
    else if (!still() && e.timeStamp - this.time < 60 && hypot(...this.speed) > 0.1) this.glide(performance.now());
  }
  pointerleave() { this.tell(this.kept); } // of a click, which stays
  glide(since) { // after the hand has let go
    this.gliding = requestAnimationFrame((now) => {
      const dt = clamp(now - since, 0, 50);
      this.move(this.speed[0] * dt, this.speed[1] * dt), this.speed = this.speed.map((v) => v * exp(-dt / 250));
      if (hypot(...this.speed) > 0.01) this.glide(now);
    });
  }
  wheel(e) { // a page that is being scrolled goes on scrolling
    if (e.ctrlKey || e.timeStamp - Desk.scrolled > 300) e.stopPropagation(), super.wheel(e);
  }
  dblclick(e) { const d = this.under(e); if (d) this.turnTo(atan2(d[1], d[0]) / RAD, asin(clamp(d[2], -1, 1)) / RAD); }
  keydown(e) {
    super.keydown(e);
    if (e.key === "Enter") this.choose(this.centre);
    if (/^(Arrow|Home|[-+=]$)/.test(e.key)) this.tell(this.centre, "polite");
  }

  // -- a browser keeps some sixteen WebGL contexts: those out of sight give theirs back; without WebGL2, a 2D canvas --
  draw() {
    const rows = new Set(this.cells().map(({ clip }) => clip[1])).size;
    const height = round(this.spec.height * (rows > 1 ? 0.8 * rows : 1)) + "px"; // maps below each other need room
    if (this.stage.style.height !== height) this.stage.style.height = height;
    if (this.visible || this.painter || Desk.awake.size < 7) super.draw();
  }
  wake() {
    for (const other of Desk.awake) if (Desk.awake.size > 7 && !other.visible) other.sleep();
    try { this.paint(Painter); } catch { this.paint(this.soft); }
    const { canvas } = this;
    this.stage.prepend(canvas), Desk.awake.add(this);
    canvas.addEventListener("webglcontextlost", () => { if (canvas === this.canvas) this.sleep(), this.visible && this.ask(); });
  }
  get soft() { return SoftPainter; }
  sleep() {
    const { painter, canvas } = this;
    Desk.awake.delete(this), this.painter = this.canvas = null, canvas && canvas.remove();
    if (painter && painter.gl && !painter.gl.isContextLost()) painter.gl.getExtension("WEBGL_lose_context").loseContext();
  }
  save() {
    const [width, height] = this.area, ratio = this.canvas.width / width, out = make("canvas", document.createDocumentFragment(), { width: width * ratio, height: (height + 46) * ratio }), pen = out.getContext("2d");
    const ink = getComputedStyle(this.el).color, text = (label, x, y, align, most) => { pen.textAlign = align, pen.fillText(label, x, y, most); };
    this.draw(), pen.fillStyle = getComputedStyle(document.body).backgroundColor;
    pen.fillRect(0, 0, out.width, out.height), pen.drawImage(this.canvas, 0, 0), pen.drawImage(this.over, 0, 0), pen.scale(ratio, ratio);
    pen.fillStyle = ink, pen.font = "14px sans-serif";
    this.cells().forEach(({ clip: [x, y, w] }, i) => text(this.spec.maps[this.shown[i]].title, x + w / 2, y - 7, "center", w));
    pen.drawImage(this.ramp, width / 4, height + 8, width / 2, 14), pen.strokeStyle = ink, pen.strokeRect(width / 4, height + 8, width / 2, 14);
    text(this.end("low"), width / 4, height + 38, "center"), text(`${this.end("high")} ${this.spec.unit}`, width * 3 / 4, height + 38, "center");
    out.toBlob((blob) => { const link = make("a", document.createDocumentFragment(), { href: URL.createObjectURL(blob), download: "sphere.png" }); link.click(), setTimeout(() => URL.revokeObjectURL(link.href), 1000); });
  }
  destroy() { super.destroy(), clearInterval(this.playing), cancelAnimationFrame(this.gliding), this.painter && this.sleep(); }
}
// anywidget imports this module once for each model: what they share lies outside
Desk.awake = globalThis[Symbol.for("sky-awake")] ||= new Set(), Desk.scrolled = -1e9;
globalThis.addEventListener?.("wheel", (e) => { Desk.scrolled = e.timeStamp; });
View = Desk;
