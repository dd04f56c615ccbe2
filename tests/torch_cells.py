"""The cells of modules times modes that do not simply work."""

WITH_PENALTY = ("half()", "bfloat16()", "vmap", "func.grad", "func.jvp", "export", "compile")
REFUSED = {("AdversarialPair", mode) for mode in (*WITH_PENALTY, "inference first")} | {
    ("Sample", "built on meta"),
    ("PolarResample", "built on meta"),
    ("Harmonics", "double()"),
}
SUMS = ("Dense", "RingFourier", "CapFourier")
REFUSED |= {(name, mode) for name in SUMS for mode in ("half()", "bfloat16()")}
# An error of torch itself, not a sentence of ours; no number comes out. And what is not measured.
OPEN = {(name, mode) for name in ("Harmonics", "SymmetryBlocks") for mode in WITH_PENALTY[:2]} | {
    ("Rotate", "vmap"),
    ("Sample", "vmap"),
    ("PolarResample", "vmap"),
}
UNMEASURED = {"WienerFilter"}
