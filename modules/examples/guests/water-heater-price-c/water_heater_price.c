/* The component `water-heater-price-c`: the price plan in C, equal bit for bit to
 * ../water-heater-price/src/plan.rs (same operations, same order; a change here is
 * a change there). Its WIT is ../water-heater-price/wit/setpoint.wit.
 * Refuses to know anything that plan.rs does not.
 */
#include <stdbool.h>

#include "gnomon.h"

#define HORIZON_HOURS_MAX 24u

struct params {
    double comfort_min_c, high_c, low_c, heat_c_per_hour, use_c_per_hour;
};

struct hour {
    double price;
    double temp_c; /* predicted mean tank temperature at the end of the hour */
    bool chosen;
};

struct plan {
    struct hour hours[HORIZON_HOURS_MAX];
    size_t count;
};

/* What heating in this hour adds; zero or negative: nothing. */
static double heat_c(const struct plan *plan, size_t index, const struct params *p) {
    double heat = p->heat_c_per_hour;
    for (size_t i = index; i < plan->count; i++) {
        double room = p->high_c - plan->hours[i].temp_c;
        if (room < heat) heat = room;
    }
    return heat;
}

static void choose(struct plan *plan, size_t index, const struct params *p) {
    double heat = heat_c(plan, index, p);
    plan->hours[index].chosen = true;
    if (heat > 0.0) {
        for (size_t i = index; i < plan->count; i++) plan->hours[i].temp_c += heat;
    }
}

/* The first hour predicted to be too cold; `count` if there is none. */
static size_t first_cold(const struct plan *plan, double comfort_min_c) {
    size_t i = 0;
    while (i < plan->count && !(plan->hours[i].temp_c < comfort_min_c)) i++;
    return i;
}

/* The cheapest hour up to `cold` that can still take heat; `count` if none. */
static size_t cheapest_until(const struct plan *plan, size_t cold, const struct params *p) {
    size_t best = plan->count;
    double best_price = __builtin_inf();
    for (size_t i = 0; i <= cold; i++) {
        const struct hour *hour = &plan->hours[i];
        if (!hour->chosen && hour->price < best_price && heat_c(plan, i, p) > 0.0) {
            best = i;
            best_price = hour->price;
        }
    }
    return best;
}

static bool heats_now(double mean_c, const double *prices, size_t count, const struct params *p) {
    struct plan plan;
    plan.count = count < HORIZON_HOURS_MAX ? count : HORIZON_HOURS_MAX;
    if (plan.count == 0) return false;
    for (size_t i = 0; i < plan.count; i++) {
        mean_c -= p->use_c_per_hour;
        plan.hours[i] = (struct hour){prices[i], mean_c, false};
    }
    for (size_t i = 0; i < plan.count; i++) {
        if (plan.hours[i].price <= 0.0) choose(&plan, i, p);
    }
    for (;;) {
        size_t cold = first_cold(&plan, p->comfort_min_c);
        if (cold == plan.count) break;
        size_t cheapest = cheapest_until(&plan, cold, p);
        if (cheapest == plan.count) break;
        choose(&plan, cheapest, p);
    }
    return plan.hours[0].chosen;
}

/* evaluate: func(in: inputs, p: params) -> outputs, flattened: the fields of
 * `inputs` (the list as pointer and length), those of `params`, and the one field
 * of `outputs` as the result. */
GNOMON_EXPORT("evaluate")
double evaluate(double tank_temp_c, double tank_low_temp_c, double hour, const double *prices,
                size_t price_count, double comfort_min_c, double high_c, double low_c,
                double heat_c_per_hour, double use_c_per_hour) {
    struct params p = {comfort_min_c, high_c, low_c, heat_c_per_hour, use_c_per_hour};
    double mean_c = (tank_temp_c + tank_low_temp_c) * 0.5;
    (void)hour;
    bool heat = tank_temp_c < comfort_min_c || heats_now(mean_c, prices, price_count, &p);
    return heat ? high_c : low_c;
}
