"""Five attack libraries, every attack that takes images and labels, with settings for small images and little time.

`LIBRARIES` maps a library to a function that returns its attacks; an attack maps a network, images [N, C, H, W] in
[0, 1] and labels [N] to candidates. Radii are so large that what attacks at all gets through: `EPS` in L-infinity,
`EPS_L2`, `EPS_L1`, of images of 64 pixels.
"""

import importlib
import inspect

import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset

EPS, EPS_L2, EPS_L1 = 0.4, 4.0, 30.0
STEPS = 20
NOT_HERE = {
    "ART": "attacks on speech, video, malware, tables, decision trees, Gaussian processes, road signs or object "
    "detectors, those for TensorFlow, those on a layer's features instead of the answer, and LaserAttack and "
    "CompositeAdversarialAttackPyTorch, which want colours",
    "torchattacks": "VANILA, which does nothing; MultiAttack, which combines others; and LGV, which trains a network",
    "foolbox": "DatasetAttack, which hands out other images, and BinarizationRefinementAttack, which refines others'",
}
"""Attacks left out of each library, with reasons."""


def torchattacks_attacks():
    """Return torchattacks' attacks: all of its classes, by name."""
    import torchattacks as library

    given = {
        "GN": {"std": 0.5},
        "APGD": {"steps": STEPS},
        "CW": {"c": 5, "steps": 100, "lr": 0.05},
        "DeepFool": {},
        "EADEN": {"binary_search_steps": 3, "max_iterations": 50, "lr": 0.05, "initial_const": 1},
        "EADL1": {"binary_search_steps": 3, "max_iterations": 50, "lr": 0.05, "initial_const": 1},
        "FGSM": {"eps": EPS},
        "JSMA": {"gamma": 0.3},
        "OnePixel": {"pixels": 10, "steps": 5, "popsize": 10},
        "PGDL2": {"eps": EPS_L2, "alpha": EPS_L2 / 4, "steps": STEPS},
        "PGDRS": {"eps": EPS, "alpha": EPS / 4, "noise_sd": 0.1},
        "PGDRSL2": {"eps": EPS_L2, "alpha": EPS_L2 / 4, "noise_sd": 0.1},
        "PIFGSM": {"max_epsilon": EPS},
        "PIFGSMPP": {"max_epsilon": EPS},
        "Pixle": {"x_dimensions": (1, 4), "y_dimensions": (1, 4), "restarts": 5, "max_iterations": 10},
        "SPSA": {"eps": EPS, "nb_iter": 5, "lr": 0.1, "nb_sample": 32},
        "SparseFool": {},
        "Square": {"eps": EPS, "n_queries": 200},
        "TIFGSM": {"eps": EPS, "alpha": EPS / 4, "len_kernel": 3},
    }
    left_out = {"VANILA", "MultiAttack", "LGV", "Attack"}

    def attack_of(kind, options):
        parameters = inspect.signature(kind.__init__).parameters
        usual = {"eps": EPS, "alpha": EPS / 4, "norm": "Linf"}

        def attack(network, images, labels):
            settings = {name: value for name, value in usual.items() if name in parameters} | options
            if "n_classes" in parameters:
                settings["n_classes"] = network(images[:1]).shape[1]
            return kind(network, **settings)(images, labels)

        return attack

    names = [name for name in library.__all__ if name not in left_out]
    return {name: attack_of(getattr(library, name), given.get(name, {})) for name in names}


def art_attacks():
    """Return the attacks of the Adversarial Robustness Toolbox that take images and a network of PyTorch."""
    import art.attacks.evasion as library
    from art.estimators.classification import PyTorchClassifier

    quick = {"max_iter": STEPS}
    search = {"learning_rate": 0.1, "binary_search_steps": 4, "max_iter": 20, "initial_const": 1.0, "batch_size": 64}
    gradient = {"eps": EPS, "eps_step": EPS / 4, "max_iter": STEPS}
    given = {
        "AdversarialPatchPyTorch": {"patch_shape": (1, 8, 8), "max_iter": 50, "scale_min": 0.8, "targeted": False},
        "AutoAttack": {"eps": EPS, "eps_step": EPS / 4},
        "AutoConjugateGradient": gradient | {"nb_random_init": 1},
        "AutoProjectedGradientDescent": gradient | {"nb_random_init": 1},
        "BasicIterativeMethod": gradient,
        "BoundaryAttack": {"max_iter": 20, "targeted": False},
        "CarliniL0Method": search | {"binary_search_steps": 1, "max_iter": 10, "batch_size": 1},
        "CarliniL2Method": search,
        "CarliniLInfMethod": {"learning_rate": 0.1, "max_iter": 5, "initial_const": 1.0, "batch_size": 64},
        "DeepFool": {"max_iter": STEPS},
        "ElasticNet": search,
        "FastGradientMethod": {"eps": EPS},
        "GeoDA": {"max_iter": 200, "sub_dim": 8},
        "HopSkipJump": {"max_iter": 3, "max_eval": 200, "init_eval": 50},
        "MomentumIterativeMethod": gradient,
        "NewtonFool": {"max_iter": 50, "eta": 0.1},
        "PixelAttack": {"th": 10, "es": 1, "max_iter": 10},
        "ProjectedGradientDescent": gradient,
        "ProjectedGradientDescentNumpy": gradient,
        "ProjectedGradientDescentPyTorch": gradient,
        "RescalingAutoConjugateGradient": gradient | {"nb_random_init": 1},
        "SaliencyMapMethod": {"theta": 1.0, "gamma": 0.3},
        "ShadowAttack": {"nb_steps": 50, "batch_size": 1, "targeted": False},
        "SignOPTAttack": {"targeted": False, "max_iter": 2, "num_trial": 10, "query_limit": 500, "k": 10},
        "SimBA": {"attack": "px", "max_iter": 200, "epsilon": EPS},
        "SpatialTransformation": {
            "max_translation": 25, "num_translations": 3, "max_rotation": 45, "num_rotations": 3,
        },
        "SquareAttack": {"eps": EPS, "max_iter": 200},
        "SquareAttack, L2": {"eps": EPS_L2, "norm": 2, "max_iter": 200},
        "TargetedUniversalPerturbation": {"eps": EPS, "max_iter": 2, "attacker_params": {"eps": EPS, "targeted": True}},
        "ThresholdAttack": {"th": 100, "es": 1, "max_iter": 5},
        "UniversalPerturbation": {"eps": EPS, "max_iter": 2, "attacker": "fgsm", "attacker_params": {"eps": EPS}},
        "VirtualAdversarialMethod": {"eps": EPS_L2} | quick,
        "Wasserstein": {"eps": 5.0, "eps_step": 0.5, "max_iter": 10, "batch_size": 64},
        "ZooAttack": {
            "max_iter": 60, "learning_rate": 0.2, "initial_const": 10.0, "use_resize": False, "use_importance": False,
            "nb_parallel": 16,
        },
    }  # fmt: skip

    def attack_of(name, options):
        kind = getattr(library, name.split(",")[0])
        if "verbose" in inspect.signature(kind.__init__).parameters:
            options = options | {"verbose": False}

        def attack(network, images, labels):
            classes = network(images[:1]).shape[1]
            estimator = PyTorchClassifier(
                network, torch.nn.CrossEntropyLoss(), images.shape[1:], classes, clip_values=(0, 1), device_type="cpu"
            )
            pixels, one_hot = images.numpy(), np.eye(classes, dtype=np.float32)
            search = kind(estimator, **options)
            if name == "AdversarialPatchPyTorch":
                search.generate(pixels, one_hot[labels])
                return torch.from_numpy(search.apply_patch(pixels, scale=1.0))
            if name == "ShadowAttack":  # which takes one image at a time
                parts = [search.generate(pixels[i : i + 1], one_hot[labels[i : i + 1]]) for i in range(len(pixels))]
                return torch.from_numpy(np.concatenate(parts))
            aim = (labels + 1) % 10 if name.startswith("TargetedUniversal") else labels
            return torch.from_numpy(np.asarray(search.generate(pixels, one_hot[aim]), dtype=np.float32))

        return attack

    return {name: attack_of(name, options) for name, options in given.items()}


def foolbox_attacks():
    """Return foolbox's attacks: all of its classes that are not abstract, aliases once."""
    import foolbox
    from foolbox import attacks as library

    search = {"binary_search_steps": 4, "steps": 50, "initial_const": 1}
    given = {
        "BoundaryAttack": {"steps": 200},
        "EADAttack": search | {"initial_stepsize": 0.1},
        "GaussianBlurAttack": {"steps": 50},
        "GenAttack": {"steps": 50},
        "HopSkipJumpAttack": {"steps": 3, "initial_gradient_eval_steps": 30, "max_gradient_eval_steps": 100},
        "L2CarliniWagnerAttack": search | {"stepsize": 0.1},
        "LinearSearchBlendedUniformNoiseAttack": {"directions": 20, "steps": 50},
        "LinearSearchContrastReductionAttack": {"steps": 50},
        "NewtonFoolAttack": {"steps": 50, "stepsize": 0.1},
        "SaltAndPepperNoiseAttack": {"steps": 50},
        "VirtualAdversarialAttack": {"steps": 10},
    }
    left_out = {"Attack", "DatasetAttack", "BinarizationRefinementAttack"}

    def attack_of(kind, options):
        if "distance" in inspect.signature(kind.__init__).parameters:
            options = options | {"distance": foolbox.distances.l2}

        def attack(network, images, labels):
            if "BrendelBethge" in kind.__name__:
                start = library.LinearSearchBlendedUniformNoiseAttack(
                    distance=foolbox.distances.l2, directions=20, steps=50
                )
                search = kind(init_attack=start, steps=30, binary_search_steps=5)
            else:
                search = kind(**options)
            eps = None
            if isinstance(search, library.base.FixedEpsilonAttack):
                eps = {1: EPS_L1, 2: EPS_L2, float("inf"): EPS}[search.distance.p]
            criterion = foolbox.criteria.Misclassification(labels)
            if isinstance(search, library.GenAttack):  # which has to aim
                criterion = foolbox.criteria.TargetedMisclassification((labels + 1) % 10)
            model = foolbox.PyTorchModel(network, bounds=(0, 1), device="cpu")
            _, clipped, _ = search(model, images, criterion, epsilons=eps)
            return clipped

        return attack

    kinds = {}
    for name, kind in vars(library).items():
        if inspect.isclass(kind) and not inspect.isabstract(kind) and name not in left_out:
            kinds[kind.__name__] = kind
    return {name: attack_of(kind, given.get(name, {})) for name, kind in kinds.items()}


def adv_lib_attacks():
    """Return adv-lib's attacks, which are functions."""
    import secmlt.adv.evasion  # noqa: F401  # stands in for visdom, with which adv-lib draws, and which is not needed
    from adv_lib import attacks as library

    def by(function, **options):
        def attack(network, images, labels):
            settings = dict(options)
            if function is library.perc_al:
                settings["num_classes"] = network(images[:1]).shape[1]
            return function(network, images, labels, **settings)

        return attack

    return {
        "alma": by(library.alma, num_steps=100),
        "apgd": by(library.apgd, eps=EPS, norm=float("inf"), n_iter=STEPS),
        "apgd, cross-entropy": by(library.apgd, eps=EPS, norm=float("inf"), n_iter=STEPS, loss_function="ce"),
        "apgd_targeted": by(library.apgd_targeted, eps=EPS, norm=float("inf"), n_iter=STEPS),
        "carlini_wagner_l2": by(
            library.carlini_wagner_l2, learning_rate=0.1, binary_search_steps=4, max_iterations=50, initial_const=1
        ),
        "carlini_wagner_linf": by(library.carlini_wagner_linf, learning_rate=0.05, max_iterations=20),
        "ddn": by(library.ddn, steps=50),
        "df": by(library.df),
        "df, L-infinity": by(library.df, norm=float("inf")),
        "fab": by(library.fab, norm=float("inf"), n_iter=STEPS),
        "fab, L2": by(library.fab, norm=2, n_iter=STEPS),
        "fga": by(library.fga, targeted=False),
        "fmn, L0": by(library.fmn, norm=0, steps=50),
        "fmn, L1": by(library.fmn, norm=1, steps=50),
        "fmn, L2": by(library.fmn, norm=2, steps=50),
        "fmn, L-infinity": by(library.fmn, norm=float("inf"), steps=50),
        "pdgd": by(library.pdgd, num_steps=100),
        "pdpgd, L0": by(library.pdpgd, norm=0, num_steps=100),
        "pdpgd, L2": by(library.pdpgd, norm=2, num_steps=100),
        "pdpgd, L-infinity": by(library.pdpgd, norm=float("inf"), num_steps=100),
        "perc_al": by(library.perc_al, max_iterations=50),
        "pgd_linf": by(library.pgd_linf, ε=EPS, steps=STEPS),
        "pgd_linf, DLR": by(library.pgd_linf, ε=EPS, steps=STEPS, loss_function="dlr"),
        "sdf": by(library.sdf),
        "sigma_zero": by(library.sigma_zero, num_steps=100),
        "str_attack": by(library.str_attack, binary_search_steps=2, max_iterations=50),
        "tr": by(library.tr),
        "tr, L-infinity": by(library.tr, p=float("inf")),
        "vfga": by(library.vfga, targeted=False),
    }


def secml_torch_attacks():
    """Return SecML-Torch's attacks, with each of the libraries that it can run them by."""
    from secmlt.models.pytorch.base_pytorch_nn import BasePyTorchClassifier

    norms = {"L2": {"perturbation_model": "l2"}, "L-infinity": {"perturbation_model": "linf"}}
    radii = {"L2": EPS_L2, "L-infinity": EPS}
    wanted = [
        ("AdditiveNoise", "additive_noise", {"epsilon": EPS_L2}),
        ("BoundaryAttack", "boundary_attack", {"steps": 200}),
        ("ContrastReduction", "contrast_reduction", {"epsilon": EPS_L2}),
        ("CW", "cw", {"binary_search_steps": 4, "num_steps": 50, "step_size": 0.1, "initial_const": 1}),
        ("DDN", "ddn", {"num_steps": 50}),
        ("DeepFool", "deepfool", {}),
        *((f"FGSM, {n}", "fgsm", norms[n] | {"epsilon": radii[n]}) for n in norms),
        *((f"FMN, {n}", "fmn", norms[n] | {"num_steps": 50, "step_size": 1.0}) for n in norms),
        ("GaussianBlur", "gaussian_blur", {"steps": 50}),
        ("HopSkipJump", "hopskipjump", {
            "steps": 3, "initial_gradient_eval_steps": 30, "max_gradient_eval_steps": 100,
        }),
        *((f"PGD, {n}", "pgd", norms[n] | {
            "epsilon": radii[n], "num_steps": STEPS, "step_size": radii[n] / 4,
        }) for n in norms),
        ("SaltAndPepperNoise", "saltandpepper", {"steps": 50}),
        ("SpatialAttack", "spatial_attack", {}),
        ("VAT", "vat", {"epsilon": EPS_L2, "steps": 10}),
    ]  # fmt: skip

    def kind_of(name, module):
        return getattr(importlib.import_module(f"secmlt.adv.evasion.{module}"), name.split(",")[0])

    def by(kind, options):
        def attack(network, images, labels):
            loader = DataLoader(TensorDataset(images, labels), batch_size=len(images))
            batches = kind(**options)(BasePyTorchClassifier(network), loader)
            return torch.cat([pixels for pixels, _ in batches])

        return attack

    return {
        f"{name}, by {backend}": by(kind, options | {"backend": backend})
        for name, kind, options in ((name, kind_of(name, module), options) for name, module, options in wanted)
        for backend in sorted(kind.get_backends())
    }


LIBRARIES = {
    "torchattacks": torchattacks_attacks,
    "ART": art_attacks,
    "foolbox": foolbox_attacks,
    "adv-lib": adv_lib_attacks,
    "SecML-Torch": secml_torch_attacks,
}
