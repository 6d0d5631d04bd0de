# %% [markdown]
# # Your first flow
#
# **Question.** A linear network of depth 2 is trained by gradient descent on a regression with one
# output. Which differential equation does its product follow, and how far is descent from it?

# %%
import numpy as np

import flowsim as fs

rng = np.random.default_rng(0)
X = rng.standard_normal((200, 5))
y = X @ np.array([1.0, -2.0, 0.5, 0.0, 3.0])

loss = fs.LpLoss(X, y, p=4)  # mean of |x.w - y|^4 / 4
net = fs.DeepLinear((5, 1, 1))  # w = W_2 W_1, with W_1 of shape (1, 5) and W_2 of shape (1, 1)

# %% [markdown]
# The law of the product is derived, not looked up: from the loss and the chain rule to a balanced
# start, where it closes in w.

# %%
law = fs.derive(net)
print(law)

# %% [markdown]
# A start has to be balanced for that law to hold. `net.balanced` makes such factors; the law can
# check any others.

# %%
w0 = np.full(5, 0.1)
theta = net.balanced(w0)
for hypothesis in law.hypotheses:
    print(hypothesis.check(theta))

# %% [markdown]
# The end-to-end law and the flow of the factors are one motion in two representations.

# %%
times = np.linspace(0.0, 2.0, 21)
problem = fs.Problem(loss, net)
by_law = fs.integrate(law.lower(loss, strategy="spectral"), w0, t1=2.0, ts=times)
by_factors = fs.integrate(problem, theta, t1=2.0, ts=times)
difference = np.abs(by_law.end_to_end - by_factors.end_to_end).max()
print(f"largest difference between the two: {difference:.1e}")
assert difference < 1e-7

# %% [markdown]
# Gradient descent is Euler's method on that flow. `compare` measures the gap at the same time
# t = k * learning_rate, predicts it to leading order, and follows the curvature that causes it.

# %%
comparison = fs.compare(problem, theta, learning_rate=1e-3, steps=2000)
print(comparison)
worst = int(np.argmax(comparison.gap))
print(
    f"largest gap {comparison.gap[worst]:.4f} at t = {comparison.ts[worst]:.2f}, "
    f"predicted {comparison.predicted_gap[worst]:.4f}; there learning_rate * sharpness = "
    f"{comparison.learning_rate * comparison.sharpness[worst]:.3f}"
)
assert abs(comparison.gap[worst] / comparison.predicted_gap[worst] - 1) < 0.05

# %% [markdown]
# **Answer.** The product follows w' = -||w|| (g + Pr_w g). Descent with step 1e-3 is at most
# 0.02 away from it, as the leading-order term says to within a few percent, and
# what conservation should keep, ||W_1||^2 - W_2^2, drifts by this much:

# %%
print({name: float(values.max()) for name, values in comparison.drift.items()})
