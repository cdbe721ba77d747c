// What the next-token distributions of rows say: log-softmax in slices of the vocabulary, of which only what was asked for, the
// entropy and the most probable tokens are kept. A slice has one size, so that a row's sums run in one order.

#define SLICE 4096u
#define TOP 5u

struct SummaryParameters {
    const float* logits;      // [rows, vocabulary]
    double* parts;            // [rows, slices, 3]: the largest, the mass and the moment around it
    float* top_logits;        // [rows, slices, TOP]
    unsigned* top_tokens;
    const unsigned* asked;    // tokens, row by row
    const unsigned* firsts;   // where the tokens of a row begin, and where the last ends
    double* entropies;        // [rows]
    double* tops;             // [rows, TOP]: log-probabilities
    unsigned* tokens;         // [rows, TOP]
    double* found;            // the log-probabilities of `asked`
    unsigned vocabulary;
    unsigned slices;
    float scale;
    float softcap;
};

__device__ __forceinline__ float logit_at(const SummaryParameters& p, size_t row, unsigned token) {
    return capped(p.logits[row * p.vocabulary + token] * p.scale, p.softcap);
}

// Whether a logit comes before another: the larger, on a tie the lower token.
__device__ __forceinline__ bool is_before(float a, unsigned token, float b, unsigned other) {
    return a > b || (a == b && token < other);
}

// One block a slice and row.
KERNEL(summarise_slices, SummaryParameters, 256) {
    SHARED(float, best, 256);
    SHARED(unsigned, best_token, 256);
    SHARED(double, masses, 256);
    SHARED(double, moments, 256);
    constexpr unsigned EACH = SLICE / 256;
    size_t row = blockIdx.y, part = row * p.slices + blockIdx.x;
    unsigned begin = blockIdx.x * SLICE, me = threadIdx.x;
    float values[EACH];
    for (unsigned i = 0; i < EACH; i++) {
        unsigned token = begin + i * 256 + me;
        values[i] = token < p.vocabulary ? logit_at(p, row, token) : -INFINITE;
    }
    // The best that is not taken yet, as often as tokens are kept.
    float last = INFINITE, largest = -INFINITE;
    unsigned last_token = 0;
    bool any = false;
    for (unsigned round = 0; round < TOP; round++) {
        float mine = -INFINITE;
        unsigned token = NONE;
        for (unsigned i = 0; i < EACH; i++) {
            unsigned candidate = begin + i * 256 + me;
            bool left = !any || is_before(last, last_token, values[i], candidate);
            if (candidate < p.vocabulary && left && (token == NONE || is_before(values[i], candidate, mine, token))) {
                // Not a number comes before nothing.
                if (values[i] == values[i]) { mine = values[i]; token = candidate; }
            }
        }
        __syncthreads();
        best[me] = mine;
        best_token[me] = token;
        __syncthreads();
        for (unsigned step = 128; step > 0; step /= 2) {
            if (me < step && best_token[me + step] != NONE &&
                (best_token[me] == NONE || is_before(best[me + step], best_token[me + step], best[me], best_token[me]))) {
                best[me] = best[me + step];
                best_token[me] = best_token[me + step];
            }
            __syncthreads();
        }
        last = best[0];
        last_token = best_token[0];
        any = true;
        if (round == 0) largest = last;
        if (me == 0) {
            p.top_logits[part * TOP + round] = last;
            p.top_tokens[part * TOP + round] = last_token;
        }
        if (last_token == NONE) last = -INFINITE;
    }
    float mass = 0.0f, moment = 0.0f;
    for (unsigned i = 0; i < EACH; i++) {
        unsigned token = begin + i * 256 + me;
        if (token < p.vocabulary) {
            float off = values[i] - largest, weight = expf(off);
            mass += weight;
            // What has no weight has no moment, however far off it is.
            moment += weight == 0.0f ? 0.0f : off * weight;
        }
    }
    masses[me] = mass;
    moments[me] = moment;
    __syncthreads();
    for (unsigned step = 128; step > 0; step /= 2) {
        if (me < step) {
            masses[me] += masses[me + step];
            moments[me] += moments[me + step];
        }
        __syncthreads();
    }
    if (me == 0) {
        p.parts[part * 3] = largest;
        p.parts[part * 3 + 1] = masses[0];
        p.parts[part * 3 + 2] = moments[0];
    }
}

// One warp a row: the slices together, in their order; then what was asked for.
KERNEL(summarise_rows, SummaryParameters, 32) {
    size_t row = blockIdx.x, first = row * p.slices;
    double largest = -INFINITE, mass = 0.0, moment = 0.0;
    for (unsigned slice = 0; slice < p.slices; slice++) largest = fmax(largest, p.parts[(first + slice) * 3]);
    for (unsigned slice = 0; slice < p.slices; slice++) {
        const double* part = p.parts + (first + slice) * 3;
        double off = part[0] - largest, factor = exp(off);
        // A mass that is not a number must show, however far off it is.
        if (factor == 0.0 && part[1] == part[1]) continue;
        mass += factor * part[1];
        moment += factor * (part[2] + off * part[1]);
    }
    double log_mass = log(mass);
    if (threadIdx.x == 0) {
        p.entropies[row] = log_mass - moment / mass;
        float last = INFINITE;
        unsigned last_token = 0;
        bool any = false;
        for (unsigned round = 0; round < TOP; round++) {
            float best = -INFINITE;
            unsigned token = NONE;
            for (unsigned i = 0; i < p.slices * TOP; i++) {
                float candidate = p.top_logits[first * TOP + i];
                unsigned other = p.top_tokens[first * TOP + i];
                bool left = !any || is_before(last, last_token, candidate, other);
                if (other != NONE && left && (token == NONE || is_before(candidate, other, best, token))) {
                    best = candidate;
                    token = other;
                }
            }
            p.tokens[row * TOP + round] = token;
            p.tops[row * TOP + round] = static_cast<double>(best) - largest - log_mass;
            last = best;
            last_token = token;
            any = true;
        }
    }
    for (unsigned at = p.firsts[row] + threadIdx.x; at < p.firsts[row + 1]; at += 32) {
        p.found[at] = static_cast<double>(logit_at(p, row, p.asked[at])) - largest - log_mass;
    }
}
