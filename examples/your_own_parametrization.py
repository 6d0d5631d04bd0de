# %% [markdown]
# # Your own parametrization
#
# **Question.** Somebody trains w = u**2 * v, entry by entry, and claims that gradient descent then
# has a bias of its own. How does w move, what does the motion conserve, can it be written in w
# alone, and where does it end?

# %%
import numpy as np

import flowsim as fs

d = 3
par = fs.Parametrization.from_function(lambda u, v: u**2 * v, {"u": d, "v": d})

# %% [markdown]
# The law follows from the chain rule. It is written in whole arrays, `*` going entry by entry, and
# holds from any start; each line of its derivation was checked as it was made.

# %%
law = fs.derive(par)
print(law)
for step in law.steps:
    print(step)

# %% [markdown]
# What is conserved for every loss? A rank says how many such quantities there are, and a search
# finds them.

# %%
conserved = fs.conservation_laws(par)
print(conserved)
assert conserved.complete

# %% [markdown]
# On a run they are instruments: what should not move tells how exact the integration was.

# %%
rng = np.random.default_rng(0)
X = rng.standard_normal((2, d))
y = X @ np.array([1.0, 0.3, 0.5])
problem = fs.Problem(fs.LpLoss(X, y, p=2), par)
start = (np.full(d, 0.8), np.full(d, 0.3))
flow = fs.integrate(problem, start, t1=300.0, rtol=1e-10)
drift = fs.drift(conserved, flow)
print(drift)
assert drift.drift < 1e-8

# %% [markdown]
# Given their values, does w move by an equation of its own?

# %%
print(fs.closure(par))

# %% [markdown]
# The gradients of different entries commute, so that this is a mirror flow, and on an
# underdetermined regression the mirror says where the flow ends without integrating it.

# %%
print(fs.mirror(par))
limit = fs.mirror_limit(par, X, y, start)
print("integrated:", flow.end_to_end[-1])
print("predicted: ", limit.w)
assert np.allclose(limit.w, flow.end_to_end[-1], atol=1e-8)

# %% [markdown]
# **Answer.** w moves by -(4 u**2 v**2 + u**4) times its gradient; u**2 - 2 v**2 never changes; with
# it the motion closes; and it ends at the point that the mirror names.
