"""The cells of modules times modes that do not simply work: each is refused in a sentence."""

WITH_PENALTY = ("half()", "bfloat16()", "vmap", "func.grad", "func.jvp", "export", "compile")
REFUSED = {("AdversarialPair", mode) for mode in (*WITH_PENALTY, "inference first")} | {
    ("Sample", "built on meta"),
    ("Harmonics", "double()"),
    ("WienerFilter", "double()"),
}
REFUSED |= {("WienerFilter", mode) for mode in WITH_PENALTY}
SUMS = ("Dense", "RingFourier", "CapFourier")
REFUSED |= {(name, mode) for name in SUMS for mode in WITH_PENALTY[:2]}
