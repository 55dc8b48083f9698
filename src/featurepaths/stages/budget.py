"""The budget of an AutoPGD attack, from a stage's settings: what the stages that search share."""


def budget_of(settings, description, device):
    """Return the budget, in pixel values, for the network that a checkpoint's description is of.

    See `eps_space` of the configuration's attacks.
    """
    from featurepaths.attacks.budget import pixel_budget

    return pixel_budget(
        settings.number("eps"),
        settings.number("step"),
        **{key: settings[key] for key in ("norm", "iterations", "seed", "eps_space")},
        std=description["build"]["std"],
        image_shape=description["image_shape"],
        device=device,
    )
