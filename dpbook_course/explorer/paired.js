// What the seeds of two rows say together, as claims/effects.py and claims/seeds.py compute it: `paired` is their ratio,
// `meanOf` their interval. A row has `at`, the numbers of its seeds in a list [set of data, seed], and a value for each.

const MIN_SEEDS = 6, MARGIN = Math.log1p(0.05);

const finite = numbers => numbers.filter(Number.isFinite);

/** Mean and 95 % interval (Student's t) of the finite numbers; quantiles[k]: of t with k + 1 degrees of freedom. */
function interval(numbers, quantiles) {
    const known = finite(numbers), n = known.length, mean = known.reduce((a, b) => a + b, 0) / n;
    const squares = known.reduce((sum, x) => sum + (x - mean) ** 2, 0);
    const half = n > 1 ? quantiles[n - 2] * Math.sqrt(squares / (n - 1) / n) : NaN;
    return [mean, mean - half, mean + half];
}

/** What counts once: [set, seed, number] of the seeds of the first set or, with six sets or more, the median of each. */
function units(numbered) {
    const sets = new Map();
    for (const [set, , x] of numbered) sets.set(set, [...sets.get(set) || [], x]);
    if (sets.size < MIN_SEEDS) {
        const first = Math.min(...sets.keys());
        return numbered.filter(([set]) => set === first).map(([, , x]) => x);
    }
    return [...sets.values()].map(all => {
        const sorted = all.filter(x => !Number.isNaN(x)).sort((a, b) => a - b), n = sorted.length;
        return (sorted[(n - 1) >> 1] + sorted[n >> 1]) / 2;
    });
}

/** Wilcoxon's test, exact also with ties: [two-sided p, side]. */
function signedRank(numbers) {
    const given = numbers.filter(x => x && !Number.isNaN(x)), size = given.map(Math.abs);
    const doubled = size.map(x => 2 * size.filter(y => y < x).length + size.filter(y => y === x).length + 1);
    const total = doubled.reduce((sum, rank, k) => sum + rank * Math.sign(given[k]), 0);
    let chances = new Map([[0, 1]]);  // of the sums, if each rank has either sign with the same probability
    for (const rank of doubled) {
        const next = new Map();
        for (const [sum, chance] of chances)
            for (const to of [sum - rank, sum + rank]) next.set(to, (next.get(to) || 0) + chance / 2);
        chances = next;
    }
    const beyond = [...chances].filter(([sum]) => Math.abs(sum) >= Math.abs(total));
    return [Math.min(beyond.reduce((p, [, chance]) => p + chance, 0), 1), Math.sign(total)];
}

/** How the logarithms of ratios are read; empty with fewer than six. */
function reading(logs, [, low, high], [p, side]) {
    if (logs.length < MIN_SEEDS) return "";
    if (logs.every(Number.isFinite) && -MARGIN < low && high < MARGIN) return "no difference";
    if (p < 0.05 && side < 0 && !(low > 0)) return "as claimed";
    return p < 0.05 && side > 0 && !(high < 0) ? "the other way" : "undecided";
}

/** {seed: value} of a row; a baseline, which has no seeds of its own, has its value of a set for each seed of `like`. */
function bySeed(row, values, like, seeds) {
    if (!row.base || like.base) return new Map(row.at.map((k, i) => [k, values[i] ?? Infinity]));
    const ofSet = new Map(row.at.map((k, i) => [seeds[k][0], values[i] ?? Infinity]).reverse());
    return new Map(like.at.filter(k => ofSet.has(seeds[k][0])).map(k => [k, ofSet.get(seeds[k][0])]));
}

/** The ratio a / b, its interval and its reading; `pairs` of [place in `seeds`, logarithm], and what has no partner. */
function paired(a, b, measure, { seeds, quantiles }) {
    const x = bySeed(a, a.values[measure], b, seeds), y = bySeed(b, b.values[measure], a, seeds);
    const common = [...x.keys()].filter(k => y.has(k)).sort((p, q) => p - q);
    const pairs = common.map(k => [k, Math.log(x.get(k)) - Math.log(y.get(k))]);
    const logs = units(pairs.map(([k, log]) => [...seeds[k], log])), found = interval(logs, quantiles);
    const test = signedRank(logs), lost = [x, y].map(side => common.filter(k => side.get(k) === Infinity).length);
    const alone = (one, other) => [...one.keys()].filter(k => !other.has(k));
    return { pairs, logs, ratio: found.map(Math.exp), p: test[0], reading: reading(logs, found, test), lost,
        wins: logs.filter(log => log < 0).length, alone: [alone(x, y), alone(y, x)] };
}

/** Geometric mean of a row and its 95 % interval. */
function meanOf(row, measure, { seeds, quantiles }) {
    const known = row.at.map((k, i) => [...seeds[k], row.values[measure][i]]).filter(([, , x]) => x !== null);
    return interval(units(known.map(([set, seed, x]) => [set, seed, Math.log(x)])), quantiles).map(Math.exp);
}
