"""What E00 checks.   Chapter: 00_solver_as_operator."""

TOLERANCE = 1e-6  # relative
SOLVERS = (
    *(f"{equation}, {scheme}" for scheme in ("Central", "Upwind", "SemiLagrangian")
      for equation in ("Burgers", "AdvectionDiffusion")),
    "Burgers, Interpolated", "KuramotoSivashinsky, etd1", "KuramotoSivashinsky, etdrk2",
    "NavierStokes, semi_lagrangian", "NavierStokes, mac_cormack", "Wake, semi_lagrangian", "Wake, mac_cormack")
