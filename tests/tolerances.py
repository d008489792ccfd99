"""Every tolerance of the tests of the dynamics, with its reason. All are relative unless said."""

# A run in deflated coordinates against 60 digits, over 50 steps: about 50 * d roundings of 1.1e-16 that add up at
# random, where the dynamics itself does not amplify them.
TWIN = 1e-12
# Where it does (a start perturbed by one rounding moves the 60-digit run by more than TWIN / AMPLIFIED), that many
# times the movement is allowed: each of the 50 steps rounds, not the start alone.
AMPLIFIED = 30
# Against the printed update in float64, which loses what cancels in u - q w: good where the excess is above 1e-6 only.
PRINTED = 1e-9
# Measured contraction ratio against theory: the settled ratio is known to 1e-12, see `_settled` in the kernel; the
# effective learning rate it is compared at carries d roundings.
RATE = 1e-10
# Closed form of GD against 60 digits: double-double powers, so what is left is the rounding of the weights and the sum.
CLOSED_FORM = 1e-14
# Norms and other sums of d <= 200 squares: d/2 roundings.
SUM = 1e-13
# One cell over 60 steps in a smooth region against proved numbers: sums of a few modes, 60 roundings that add up at
# random, and the rounding of the start where it is near a solution.
STEP = 1e-13
