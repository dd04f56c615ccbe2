"""A valid call of every public function of the library that takes arrays of numbers.

`ROWS` maps the name of a function to the arrays of a call, by argument, and to its other arguments.
`NO_ARRAYS` names the functions that take none. Which functions there are is found in the package.
"""

import importlib
import inspect
from pathlib import Path

import torch

import skytutor

ROOT = Path(skytutor.__file__).parent
LIBRARY = [
    "arrays",
    "values",
    "inputs",
    "validate",
    "files",
    "chunks",
    "healpix",
    "sht",
    "training",
    "fields",
    "metrics",
    "layers",
    "io",
    "data",
    "plot",
    "widgets",
]

# Functions in which a masked array hides pixels: its argument, and that of the mask beside it.
HIDDEN_BY = {
    "healpix.grades.degrade": [("maps", "weights")],
    "healpix.checks.seen_maps": [("maps", "weights")],
    "fields.dipole.fit_dipole": [("maps", "weights")],
    "fields.dipole.fit_monopole": [("maps", "weights")],
    "fields.dipole.remove_dipole": [("maps", "weights")],
    "fields.dipole.remove_monopole": [("maps", "weights")],
    "fields.fills.fill_by_cg": [("data", "mask")],
    "fields.fills.fill_by_harmonics": [("data", "mask")],
    "fields.mask_edge.check_mask_edge": [("maps", "mask")],
    "fields.mask_edge.edge_excess": [("maps", "mask")],
    "fields.pseudo.cross_pseudo_cl": [("maps", "mask"), ("other", "other_mask")],
    "fields.realisations.constrained_realisation": [("maps", "mask")],
    "fields.spectra.pseudo_cl": [("maps", "mask")],
    "data.patches.check_units": [("maps", "mask")],
    "data.spectral_grid.normalise_spectra": [("flux", "mask")],
    "data.spectral_grid.rebin": [("flux", "mask")],
    "sht.functions.map2alm": [("maps", "mask")],
    "sht.inverse.least_squares": [("maps", "mask")],
    "io.writing.write_map": [("maps", "mask")],
}


def modules():
    """Yield the names of the public modules of the library wing, those of packages last."""
    for path in sorted(ROOT.rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        if name.split(".")[0] in LIBRARY and not any(p.startswith("_") for p in name.split(".")):
            yield name


def functions():
    """Return every public function by "module.name", of the module that defines it.

    Public is what stands in ``__all__``; of a module that has none, what has no underscore.
    """
    found = {}
    known = set(modules())
    for name in known:
        module = importlib.import_module(f"skytutor.{name}")
        public = getattr(module, "__all__", [n for n in vars(module) if not n.startswith("_")])
        for member in public:
            value = getattr(module, member)
            # Caches keep the function that they wrap.
            function = inspect.unwrap(value) if callable(value) else value
            if not inspect.isfunction(function):
                continue
            defined = function.__module__.removeprefix("skytutor.")
            if defined == name or (hasattr(module, "__all__") and defined in known):
                found[f"{defined}.{function.__name__}"] = value
    return found


def rng(seed=0):
    """Return a new generator."""
    return torch.Generator().manual_seed(seed)


def randn(*shape):
    """Return numbers of a normal distribution, the same for each shape."""
    return torch.randn(shape, generator=rng(), dtype=torch.float64)


def rand(*shape):
    """Return numbers from 0.1 to 1.1, the same for each shape."""
    return torch.rand(shape, generator=rng(), dtype=torch.float64) + 0.1


def arange(*ends):
    """Return whole numbers as float64."""
    return torch.arange(*ends, dtype=torch.float64)


def hole(size=8):
    """Return a mask of a patch, 0 in two pixels."""
    mask = torch.ones(size, size, dtype=torch.float64)
    middle = size // 2
    mask[middle, middle - 1 : middle + 1] = 0
    return mask


def alms(*lead):
    """Return complex coefficients up to lmax 2."""
    return torch.complex(randn(*lead, 6), rand(*lead, 6))


def seen(npix=12):
    """Return a mask of a map: 0 in its first pixel."""
    mask = torch.ones(npix, dtype=torch.float64)
    mask[0] = 0
    return mask


def axes():
    """Return empty axes that are drawn on."""
    from matplotlib.figure import Figure

    return Figure(figsize=(1, 1)).add_subplot()


def whole(*numbers):
    """Return int64 numbers."""
    return torch.tensor(numbers)


def flat_sky():
    """Return a small flat sky."""
    from skytutor.fields.flat import FlatSky

    return FlatSky(8, pixel_arcmin=10.0, cl=torch.ones(2000), noise=1.0)


def band():
    """Return a band whose images count photons."""
    from skytutor.data.surveys import BANDS

    return next(iter(BANDS.values()))


def tril(batch=3, size=2):
    """Return Cholesky factors."""
    return (
        torch.eye(size, dtype=torch.float64).repeat(batch, 1, 1)
        + 0.1 * rand(batch, size, size).tril()
    )


class Fixed:
    """An argument, tensor or not, that stays as it is."""

    def __init__(self, value):
        self.value = value


def call(*args, **arguments):
    """Return the arguments of a call."""
    return args, arguments


def rows():
    """Return a call of each function that takes arrays, by its name: what varies are tensors."""
    return {**_healpix(), **_sht(), **_fields(), **_metrics(), **_layers(), **_data(), **_rest()}


def _healpix():
    ring = {"nside": 2, "order": "ring"}
    pix = whole(0, 5, 47)
    cell = {"f": whole(0, 5, 11), "y": whole(0, 1, 1), "x": whole(1, 0, 1), "nside": 2}
    angles = {"theta": rand(3), "phi": rand(3)}
    return {
        "healpix.adjacency.neighbours": call(pix, **ring),
        "healpix.checks.check_maps": call(randn(2, 48), **ring),
        "healpix.checks.check_values": call(randn(2, 48)),
        "healpix.checks.check_weights": call(seen(48), Fixed(randn(2, 48))),
        "healpix.directions.check_rotations": call(torch.eye(3, dtype=torch.float64)),
        "healpix.grades.degrade": call(randn(2, 48), 1, weights=seen(48), **ring),
        "healpix.grades.upgrade": call(randn(2, 48), 4, **ring),
        "healpix.queries.query_disc": call(randn(3), 0.7, **ring),
        "healpix.checks.is_unseen": call(randn(2, 48)),
        "healpix.checks.seen_maps": call(randn(2, 48), seen(48), **ring),
        "healpix.directions.angle_to_pixel": call(**angles, **ring),
        "healpix.directions.pixel_to_angle": call(pix, **ring),
        "healpix.directions.pixel_to_vector": call(pix, **ring),
        "healpix.directions.vector_to_pixel": call(randn(4, 3), **ring),
        "healpix.interpolation.interpolate": call(randn(2, 48), **angles, **ring),
        "healpix.interpolation.interpolation_weights": call(**angles, **ring),
        "healpix.numbering.check_pixels": call(pix, 2),
        "healpix.numbering.face_to_nested": call(**cell),
        "healpix.numbering.face_to_ring": call(**cell),
        "healpix.numbering.nested_to_face": call(pix, nside=2),
        "healpix.numbering.nested_to_ring": call(pix, nside=2),
        "healpix.numbering.reorder": call(randn(2, 48), source="ring", target="nested"),
        "healpix.numbering.ring_to_face": call(pix, nside=2),
        "healpix.numbering.ring_to_nested": call(pix, nside=2),
        "healpix.numbering.split_ring": call(pix, 2),
        "healpix.tangent.patch_vectors": call(
            3, pixel_arcmin=60.0, lon_deg=rand(2), lat_deg=rand(2)
        ),
    }


def _sht():
    from skytutor.sht import Harmonics

    sky = Harmonics(2, 2, order="ring", dtype=torch.float64, backend="torch")
    matrix = torch.eye(4, dtype=torch.float64) * arange(1, 5)
    solve = {"tolerance": 1e-3, "max_iter": 20}
    return {
        "sht.fourier.ring_phases": call(2, whole(0, 1), whole(0, 2)),
        "sht.functions.alm2map": call(alms(2), nside=2, lmax=2, order="ring"),
        "sht.functions.map2alm": call(randn(2, 48), nside=2, lmax=2, order="ring"),
        "sht.inverse.least_squares": call(randn(2, 48), sky, tolerance=1e-5),
        "sht.packing.alm_index": call(whole(0, 1, 2), whole(0, 1, 1), lmax=2),
        "sht.packing.check_alms": call(alms(2), lmax=2),
        "sht.packing.resize_alms": call(alms(2), lmax=2, lmax_out=3),
        "sht.rotation.rotate_alms": call(alms(2), torch.eye(3, dtype=torch.float64), lmax=2),
        "sht.real.lmax_of": call(randn(2, 9)),
        "sht.real.to_complex": call(randn(2, 9)),
        "sht.real.to_real": call(alms(2), lmax=2),
        "sht.solvers.conjugate_gradients": call(
            lambda x: x * matrix.diagonal().to(x.dtype), randn(4), weight=rand(4), **solve
        ),
        "fields.whitened.solve_whitened": call(
            lambda x: x * matrix.diagonal(), randn(4), preconditioner=lambda r: r, **solve
        ),
    }


def _fields():
    from skytutor.fields.flat import laplacian
    from skytutor.fields.wiener import WienerFilter
    from skytutor.sht import RealHarmonics

    ring = {"nside": 1, "order": "ring"}
    spectra = {"TT": rand(3)}
    loose = {"tolerance": 1e-4}
    harmonics = RealHarmonics(2, 2, order="ring", dtype=torch.float64)
    wiener = WienerFilter(1, 2, order="ring", dtype=torch.float64, tolerance=1e-6)
    seed = {"generator": rng}
    return {
        "fields.dipole.fit_dipole": call(randn(2, 12), weights=seen(), **ring),
        "fields.dipole.fit_monopole": call(randn(2, 12), weights=seen(), **ring),
        "fields.dipole.remove_dipole": call(randn(2, 12), weights=seen(), **ring),
        "fields.dipole.remove_monopole": call(randn(2, 12), weights=seen(), **ring),
        "fields.emulator.cmb_spectra": call(0.05 * rand(2).clamp(0.5, 1), 0.005 * rand(2), lmax=4),
        "fields.fills.block_preconditioner": call(laplacian(8), hole()),
        "fields.fills.covariance_preconditioner": call(rand(8, 5), hole()),
        "fields.fills.fill_by_cg": call(randn(8, 8), hole(), 1 + laplacian(8), **loose),
        "fields.fills.fill_by_harmonics": call(randn(8, 8), hole(), flat_sky(), **loose),
        "fields.fills.hole_labels": call(hole()),
        "fields.flat.band_powers": call(
            randn(2, 8, 8), arange(0, 4000, 1900), pixel_arcmin=6.0, window=rand(8, 8)
        ),
        "fields.flat.check_spectrum": call(rand(4)),
        "fields.flat.filter_maps": call(randn(8, 8), rand(8, 5)),
        "fields.gnomonic.angular_covariance": call(rand(4), rand(3)),
        "fields.holes.check_hard_mask": call(hole()),
        "fields.holes.check_precision": call(rand(8, 5)),
        "fields.holes.put_hidden": call(randn(2, 2), whole(3), randn(1)),
        "fields.holes.seen_only": call(randn(8, 8), hole()),
        "fields.mask_edge.check_mask_edge": call(randn(12), seen(), largest=1e3, **ring),
        "fields.mask_edge.edge_excess": call(randn(12), seen(), **ring),
        "fields.preconditioners.isotropic_covariance": call(rand(3), whole(0, 1), **ring),
        "fields.realisations.constrained_realisation": call(
            randn(2, 12), spectra, filter=wiener, variance=rand(12), mask=seen(), **seed
        ),
        "fields.coupling.coupling_kernels": call(rand(3), lmax=2),
        "fields.coupling.wigner_d": call(0, 0, x=rand(3) - 0.6, lmax=2),
        "fields.pseudo.cross_pseudo_cl": call(
            randn(2, 12), randn(2, 12) * 2, mask=seen(), other_mask=seen(), lmax=2, **ring
        ),
        "fields.pseudo.mean_product": call(seen(), rand(12)),
        "fields.spectra.alm2cl": call(alms(2), alms(2) * 2, lmax=2),
        "fields.spectra.check_mask": call(seen(), nside=1),
        "fields.spectra.check_spectra": call(spectra, lmax=2),
        "fields.spectra.gaussian_alms": call(spectra, lmax=2, **seed),
        "fields.spectra.gaussian_maps": call(spectra, lmax=2, **ring, **seed),
        "fields.spectra.maps_from_white_noise": call(randn(2, 9), rand(3), harmonics=harmonics),
        "fields.spectra.pseudo_cl": call(randn(2, 12), seen(), lmax=2, **ring),
        "fields.windows.smooth": call(alms(2), rand(3), lmax=2),
    }


def _metrics():
    posterior = randn(6, 40, 2)
    truth = randn(6, 2)
    both = {"posterior": posterior, "truth": truth}
    sets = (randn(20, 2), rand(22, 2))
    images = (rand(2, 12, 12), rand(2, 12, 12) ** 2)
    labels = (whole(0, 1, 2, 1), whole(0, 1, 1, 1))
    redshifts = (rand(5), rand(5) ** 2)
    cl = (rand(3, 13), rand(4, 13))
    at = whole(0)
    from skytutor.metrics.sources import Peaks

    peaks = Peaks(at, whole(2), whole(2), torch.ones(1, dtype=torch.float64))
    psf = torch.zeros(5, 5, dtype=torch.float64)
    psf[2, 2] = 1
    return {
        "metrics.calibration.coverage_in_groups": call(**both, by=rand(6), groups=2),
        "metrics.calibration.interval_coverage": call(**both),
        "metrics.calibration.pit_histogram": call(**both),
        "metrics.calibration.sharpness": call(posterior),
        "metrics.calibration.tarp": call(**both, references=randn(2, 6, 2), generator=rng),
        "metrics.classification.accuracy": call(*labels),
        "metrics.classification.confusion_matrix": call(*labels, classes=3),
        "metrics.classification.constant_accuracy": call(labels[0]),
        "metrics.distances.two_sample_auc": call(*sets, seed=1, folds=2),
        "metrics.distances.wasserstein": call(*sets),
        "metrics.images.psnr": call(*images, data_range=1.0),
        "metrics.images.residual_spectrum": call(*images, n_bins=2),
        "metrics.images.ssim": call(*images, data_range=1.0),
        "metrics.maps.seam_ratio": call(randn(2, 48), order="ring"),
        "metrics.posterior.check_posterior": call(**both),
        "metrics.posterior.draw_samples": call(posterior, 3, generator=rng),
        "metrics.posterior.fraction_below": call(arange(3), 2, level=0.5),
        "metrics.posterior.probability_below": call(posterior, truth, 0.5),
        "metrics.posterior.rows_at_once": call(posterior),
        "metrics.redshifts.outlier_fraction": call(*redshifts),
        "metrics.redshifts.redshift_bias": call(*redshifts),
        "metrics.redshifts.sigma_nmad": call(*redshifts),
        "metrics.samples.frechet_distance": call(*sets),
        "metrics.samples.ks_distance": call(*sets),
        "metrics.samples.manifold_scores": call(*sets, k=2),
        "metrics.samples.nearest_distances": call(*sets),
        "metrics.scoring_rules.crps_gaussian": call(randn(4), rand(4), rand(4)),
        "metrics.scoring_rules.crps_samples": call(posterior, truth),
        "metrics.scoring_rules.energy_score": call(posterior, truth),
        "metrics.sources.find_peaks": call(rand(2, 7, 7), least=0.5),
        "metrics.sources.point_source_flux": call(rand(2, 5, 5), psf + 0.1),
        "metrics.sources.unmatched": call(Fixed(peaks), rand(1, 5, 5)),
        "metrics.spectra.band_ratios": call(*cl),
        "metrics.spectra.power_spectra": call(randn(2, 1, 48), order="ring", lmax=4),
        "metrics.spectra.relative_scatter": call(cl[0]),
    }


def _layers():
    from skytutor.healpix import order_table
    from skytutor.layers.faces import border_indices

    gaussian = {"mean": randn(3, 2), "scale_tril": tril()}
    faces = randn(1, 2, 12, 2, 2)
    maps = randn(1, 2, 48)
    source, present = border_indices(2)
    to_faces = order_table(2, source="ring", target="face").clone()
    to_maps = order_table(2, source="face", target="ring").clone()
    square = tril() @ tril().mT
    return {
        "layers.deconvolution.inverse_square_root": call(square),
        "layers.faces.check_input": call(maps, nside=2, order="ring"),
        "layers.faces.faces_from": call(maps, to_faces, nside=2),
        "layers.faces.from_faces": call(faces, order="ring"),
        "layers.faces.maps_from": call(faces, to_maps),
        "layers.faces.pad_halo": call(faces),
        "layers.faces.pad_rows": call(faces, source, present),
        "layers.faces.to_faces": call(maps, nside=2, order="ring"),
        "layers.gates.length": call(randn(1, 2, 2, 12)),
        "layers.gaussian_head.gaussian_loss": call(
            randn(3, 2), **gaussian, target_scale_tril=tril()
        ),
        "layers.gaussian_head.gaussian_nll": call(rand(3, 2), **gaussian),
        "layers.gaussian_head.gaussian_sample": call(**gaussian, n=4, generator=rng),
        "layers.gaussian_head.whiten": call(rand(3, 2), **gaussian),
        "layers.hierarchy.to_children": call(randn(1, 4, 12, 2, 2)),
        "layers.hierarchy.to_parents": call(faces),
        "layers.partial.check_seen": call(hole()[None, None], randn(1, 1, 8, 8)),
        "layers.rotate.principal_frame": call(rand(1, 1, 48), nside=2, order="ring"),
    }


def _data():
    from skytutor.data.spectral_grid import bin_edges

    psf = rand(6, 6)
    light = {"band": band(), "psf": psf / psf.sum(), "pixel_arcsec": 1.0}
    edges = arange(5)
    square = tril() @ tril().mT
    mask = hole(4).bool()
    images = rand(2, 6, 6).clamp(max=1)
    spectrum = rand(2, 1000)
    return {
        "data.cmb.peaked_spectrum": call(rand(2), lmax=3),
        "data.cutouts.clipped_scatter": call(randn(30)),
        "data.cutouts.linear_counts": call(rand(4), {"BSOFTEN": 10.0, "BOFFSET": 1.0}),
        "data.exposures.expose": call(rand(2, 6, 6), **light, generator=rng),
        "data.exposures.noise_pixels": call(psf),
        "data.exposures.pixel_noise": call(band(), psf),
        "data.exposures.true_variance": call(rand(2, 6, 6), **light),
        "data.galaxies.stable_cholesky": call(square),
        "data.galaxy_lines.line_fluxes": call(
            rand(2, 3, 5),
            rand(2, 3),
            brightness=rand(2),
            dusty=rand(2),
            activity=randn(2),
            scatter=randn(2, 8),
        ),
        "data.galaxy_photometry.residual_factor": call(rand(2, 4), 5000 + arange(3)),
        "data.galaxy_profiles.de_vaucouleurs_transform": call(rand(3)),
        "data.galaxy_profiles.exponential_transform": call(rand(3)),
        "data.galaxy_profiles.moffat_transform": call(rand(3), 1.0),
        "data.galaxy_table.fit_templates": call(0.3 * rand(2), 1 + rand(2, 5), rand(2, 5)),
        "data.hips.split": call(300 * rand(400), 60 * randn(400).clamp(-1, 1), field_arcsec=9.0),
        "data.masks.check_hidden": call(mask),
        "data.patches.check_units": call(300 * randn(3, 8, 8), Fixed(flat_sky()), mask=hole()),
        "data.projection.centre_of_mass": call(images),
        "data.projection.check_images": call(images),
        "data.projection.project": call(
            images,
            nside=2,
            size_deg=90.0,
            order="ring",
            rotations=torch.eye(3, dtype=torch.float64).repeat(2, 1, 1),
        ),
        "data.projection.project_scatter": call(images, nside=2),
        "data.sdss_spectra.resample_to_observed": call(
            spectrum,
            0.1 * rand(2),
            edges=torch.linspace(4000, 8000, 9).double(),
            rest_edges=bin_edges(),
        ),
        "data.sky_patches.disjoint_patches": call(
            2, 2, size=4, pixel_arcmin=10.0, valid=torch.ones(12, dtype=torch.bool), generator=rng
        ),
        "data.sky_patches.gnomonic_patch": call(
            randn(48),
            nside=2,
            order="ring",
            lon_deg=rand(2),
            lat_deg=rand(2),
            size=3,
            pixel_arcmin=60.0,
        ),
        "data.spectral_grid.air_to_vacuum": call(5000 + 100 * rand(3)),
        "data.spectral_grid.bin_edges": call(3.5 + 1e-2 * arange(5)),
        "data.spectral_grid.normalise_spectra": call(
            spectrum, rand(2, 1000), mask=torch.ones(2, 1000, dtype=torch.bool)
        ),
        "data.spectral_grid.observed_bins": call(0.1 * rand(2)),
        "data.spectral_grid.rebin": call(
            rand(2, 4), edges, new_edges=arange(3) * 2, ivar=rand(2, 4), mask=rand(2, 4) > 0.2
        ),
        "data.spectral_templates.attenuation": call(5000 + 100 * rand(3), rand(3)),
        "data.spectral_templates.photon_weights": call(
            "sdss2010-r", 0.1 * rand(2), 5000 + 100 * arange(20)
        ),
        "data.spectrograph.spectrograph_noise": call(rand(2, 3), 5000 + 100 * rand(2, 3)),
        "data.stars.planck": call(5000 + 100 * rand(3), 6000.0),
    }


def _rest():
    from torch import nn

    names = {"nside": 1, "order": "ring"}
    state = {"weight": randn(2, 3), "bias": randn(2)}
    return {
        "arrays.as_floats": call(values=randn(3)),
        "arrays.as_integers": call(values=whole(1, 2)),
        "arrays.as_tensor": call("value", randn(3)),
        "chunks.in_chunks": call(lambda rows: 2 * rows, randn(5, 2), size=2),
        "plot.sphere.globe": call(axes, randn(12), order="ring"),
        "plot.sphere.mollweide": call(axes, randn(12), order="ring"),
        "training.adversarial.check_labels": call(whole(0, 2, 1), 3),
        "training.adversarial.check_latent": call(randn(2, 3), 3),
        "training.adversarial.discriminator_loss": call(randn(4), randn(4) ** 2),
        "training.adversarial.generator_loss": call(randn(4)),
        "training.checkpoint.misfits": call(state, {"weight": randn(2, 2)}),
        "training.checkpoint.load_into": call(lambda: nn.Linear(3, 2), state),
        "training.checkpoint.to_float16": call(state),
        "training.state.fingerprint": call(state, {}),
        "values.all_finite": call(randn(4)),
        "values.extremes": call(randn(4)),
        "validate.hard_mask": call(hole()),
        "widgets.sphere.figure": call(randn(12), **names),
        "widgets.sphere.view": call(randn(12), mask=seen(), **names),
        "widgets.skies.as_frames": call("maps", randn(12), **names),
    }


# Functions with an argument whose annotation would let arrays in, and why they have no row.
NO_ARRAYS = {
    "arrays.only_hidden": "masked arrays, tested in test_masked_arrays",
    "inputs.as_input": "what a module is given, tested in test_module_inputs",
    "arrays.split_masked": "masked arrays, tested in test_masked_arrays",
    "data.exposures.draw_exposures": "images that the simulator has rendered, beside its recorders",
    "data.cutout_stack.resample_cutout": "a Cutout, which is checked where it is read",
    "data.galaxy_catalogue.catalogue": "what a simulator has drawn",
    "data.hips.hips_of": "a header",
    "files.strict_json": "what JSON can hold",
    "validate.check_axes": "tensors that the door has let in",
    "validate.check_broadcast": "tensors that the door has let in",
    "io.units.convert": "two words",
    "io.writing.check_new": "a path",
    "io.writing.write_map": "files, tested in tests/io",
    "sht.implicit.implicit_gradient": "solutions tied to their equations by a gradient",
    "sht.legendre.rescale": "rows of a recurrence that the module makes",
    "validate.check_columns": "a tensor whose shape alone is looked at",
    "values.has_memory": "a tensor, tested in test_torch_names",
    "values.is_transformed": "a tensor, tested in test_torch_names",
    "values.on_values": "tested by all others",
    "widgets.skies.title_of_all": "whatever view was given, unread",
    "plot.borders.face_to_vector": "corners of pixels that the module makes",
    "plot.borders.globe_path": "lines that the module makes",
    "plot.borders.mollweide_path": "lines that the module makes",
    "plot.drawing.architecture": "an example that goes through the module unread",
    "plot.sphere.colour_bar": "an image of matplotlib",
    "plot.tables.results_table": "numbers one by one",
    "plot.trace.trace": "an example that goes through the module unread",
    "training.adversarial.r1_penalty": "outputs and maps tied by a gradient, which no array has",
    "training.checkpoint.save_checkpoint": "by save_tensors, tested below",
    "training.checkpoint.save_tensors": "tested below: what is read back",
    "training.checkpoint.write_card": "what JSON can hold",
    "training.muon.is_matrix": "a parameter of a network",
    "training.state.check_key": "what JSON can hold",
    "training.state.check_optimizers": "tensors that were read from a file",
    "training.state.check_progress": "a card",
    "training.state.check_tensors": "tensors that were read from a file",
    "training.state.save_state": "by save_tensors, tested below",
    "data.masks.size_between": "a number and two ends",
    "validate.as_integer": "one number",
    "validate.as_length": "one number",
    "validate.as_seed": "one number",
    "validate.check_generator": "a generator",
    "validate.optional_generator": "a generator",
    "widgets.codec.pack": "faces that as_frames made",
    "widgets.codec.quantise": "faces that as_frames made",
    "widgets.codec.restore": "codes that quantise made",
    "widgets.page.settings": "a specification that the view made",
    "widgets.page.static_html": "a specification that the view made",
    "widgets.settings.colour_ends": "two numbers",
    "widgets.settings.colours": "two numbers",
    "widgets.settings.direction": "single numbers",
    "widgets.settings.overlays": "switches",
    "widgets.settings.player": "single numbers",
    "widgets.settings.spec": "a state that the view made",
    "widgets.skies.by_title": "whatever view was given, unread",
    "widgets.skies.is_unseen": "an array that as_frames made",
    "widgets.skies.shape_of": "whatever view was given: its shape alone",
    "widgets.words.plain_text": "text",
    "widgets.words.sentence": "faces that as_frames made",
}
