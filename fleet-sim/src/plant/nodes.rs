//! The water: a column of equal layers that exchange heat.
//!
//! Owns the four transport processes (heating, plug flow, loss with conduction, buoyancy). Each
//! is written in flux form: what leaves one layer enters the next, so energy is conserved to
//! rounding. Refuses to know thermostats and elements.

use super::spec::{TankSpec, WATER_J_PER_L_K};

/// Largest fraction of its excess heat that a layer may lose in one explicit step. Explicit
/// diffusion is monotone below 0.5.
const EXPLICIT_FRACTION_MAX: f64 = 0.25;

/// Layer temperatures, bottom first, with the constants of their exchange.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Nodes {
    temp_c: Vec<f64>,
    node_l: f64,
    heat_capacity_j_per_k: f64,
    loss_w_per_k: Vec<f64>,
    conductance_w_per_k: f64,
    /// Work space of `mix_inversions`: sum of temperatures and number of layers of each pool.
    pools: Vec<(f64, usize)>,
}

impl Nodes {
    pub(super) fn new(spec: &TankSpec, initial_c: f64) -> Self {
        let node_l = spec.volume_l / spec.node_count as f64;
        let layer_m = spec.height_m / spec.node_count as f64;
        Self {
            temp_c: vec![initial_c; spec.node_count],
            node_l,
            heat_capacity_j_per_k: node_l * WATER_J_PER_L_K,
            loss_w_per_k: spec.loss_by_node_w_per_k(),
            conductance_w_per_k: spec.conductivity_w_per_m_k * spec.cross_section_m2() / layer_m,
            pools: Vec::with_capacity(spec.node_count),
        }
    }

    pub(super) fn temps_c(&self) -> &[f64] {
        &self.temp_c
    }

    /// Heat above 0 C, joules.
    pub(super) fn energy_j(&self) -> f64 {
        self.heat_capacity_j_per_k * self.temp_c.iter().sum::<f64>()
    }

    /// Longest time step for which [`Nodes::exchange`] is stable, seconds.
    pub(super) fn exchange_step_s_max(&self) -> f64 {
        let loss = self.loss_w_per_k.iter().copied().fold(0.0, f64::max);
        let rate_w_per_k = 2.0 * self.conductance_w_per_k + loss;
        // A tank without losses and conduction has no limit: the quotient is infinite.
        EXPLICIT_FRACTION_MAX * self.heat_capacity_j_per_k / rate_w_per_k
    }

    pub(super) fn heat(&mut self, node: usize, energy_j: f64) {
        self.temp_c[node] += energy_j / self.heat_capacity_j_per_k;
    }

    /// Plug flow: `draw_l` enters at the bottom at `mains_c`, as much leaves at the top. Returns
    /// the heat that left relative to `mains_c`, joules.
    ///
    /// Second-order upwind with van Leer's limiter (van Leer 1974, Sweby 1984): keeps the front
    /// between hot and cold sharper than first-order upwind, never overshoots, and what leaves
    /// one layer enters the next. At most one layer volume moves at a time.
    pub(super) fn draw(&mut self, draw_l: f64, mains_c: f64) -> f64 {
        let pieces = (draw_l / self.node_l).ceil().max(1.0);
        let piece_l = draw_l / pieces;
        let moved = piece_l / self.node_l;
        let mut outlet_sum_k = 0.0;
        for _ in 0..pieces as u64 {
            outlet_sum_k += self.advect(moved, mains_c) - mains_c;
        }
        outlet_sum_k * piece_l * WATER_J_PER_L_K
    }

    /// Moves the column up by a fraction of a layer. Returns the temperature of what left.
    fn advect(&mut self, moved: f64, mains_c: f64) -> f64 {
        let (mut below_c, mut entering_c) = (mains_c, mains_c);
        for node in 0..self.temp_c.len() {
            let here_c = self.temp_c[node];
            let above_c = self.temp_c.get(node + 1).copied().unwrap_or(here_c);
            let slope_k = limited_slope(here_c - below_c, above_c - here_c);
            let leaving_c = here_c + 0.5 * (1.0 - moved) * slope_k;
            self.temp_c[node] += moved * (entering_c - leaving_c);
            (below_c, entering_c) = (here_c, leaving_c);
        }
        entering_c
    }

    /// Standing loss and vertical conduction over `dt_s`. Returns the loss, joules.
    pub(super) fn exchange(&mut self, dt_s: f64, ambient_c: f64) -> f64 {
        let k_per_w = dt_s / self.heat_capacity_j_per_k;
        let mut loss_sum_w = 0.0;
        let mut from_below_w = 0.0;
        let Some(mut here_c) = self.temp_c.first().copied() else { return 0.0 };
        let last = self.temp_c.len() - 1;
        for node in 0..last {
            let above_c = self.temp_c[node + 1];
            let to_above_w = self.conductance_w_per_k * (here_c - above_c);
            let loss_w = self.loss_w_per_k[node] * (here_c - ambient_c);
            self.temp_c[node] = here_c + (from_below_w - to_above_w - loss_w) * k_per_w;
            loss_sum_w += loss_w;
            from_below_w = to_above_w;
            here_c = above_c;
        }
        let loss_w = self.loss_w_per_k[last] * (here_c - ambient_c);
        self.temp_c[last] = here_c + (from_below_w - loss_w) * k_per_w;
        (loss_sum_w + loss_w) * dt_s
    }

    /// Buoyancy: layers that are warmer than the ones above them mix with these until no
    /// temperature decreases with height. With equal layers this is the pool-adjacent-violators
    /// algorithm: one pass, the result does not depend on an order of mixing.
    pub(super) fn mix_inversions(&mut self) {
        // Without an early end, which is the rare case, the comparison is one pass of vectors.
        let pairs = self.temp_c.iter().zip(&self.temp_c[1..]);
        if pairs.fold(true, |sorted, (below_c, above_c)| sorted & (below_c <= above_c)) {
            return;
        }
        self.pools.clear();
        for &temp_c in &self.temp_c {
            let (mut sum_c, mut count) = (temp_c, 1);
            while let Some(&(below_sum_c, below_count)) = self.pools.last() {
                if below_sum_c / below_count as f64 <= sum_c / count as f64 {
                    break;
                }
                sum_c += below_sum_c;
                count += below_count;
                self.pools.pop();
            }
            self.pools.push((sum_c, count));
        }
        let mut node = 0;
        for &(sum_c, count) in &self.pools {
            self.temp_c[node..node + count].fill(sum_c / count as f64);
            node += count;
        }
    }
}

/// Van Leer's limiter: the harmonic mean of the two differences, 0 where they disagree in sign.
fn limited_slope(below_k: f64, above_k: f64) -> f64 {
    let product = below_k * above_k;
    if product > 0.0 { 2.0 * product / (below_k + above_k) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(temps_c: &[f64]) -> Nodes {
        let spec = TankSpec { node_count: temps_c.len(), ..TankSpec::default() };
        let mut nodes = Nodes::new(&spec, 0.0);
        nodes.temp_c.copy_from_slice(temps_c);
        nodes
    }

    #[test]
    fn mixing_pools_neighbours_and_keeps_the_energy() {
        let mut column = nodes(&[10.0, 40.0, 20.0, 30.0, 60.0]);
        let before_j = column.energy_j();
        column.mix_inversions();
        assert_eq!(column.temps_c(), &[10.0, 30.0, 30.0, 30.0, 60.0]);
        assert!((column.energy_j() - before_j).abs() < 1e-6);
    }

    #[test]
    fn a_whole_layer_moves_without_smearing() {
        let mut column = nodes(&[10.0, 20.0, 30.0, 40.0]);
        let out_j = column.draw(190.0 / 4.0, 5.0);
        assert_eq!(column.temps_c(), &[5.0, 10.0, 20.0, 30.0]);
        assert!((out_j - 47.5 * WATER_J_PER_L_K * 35.0).abs() < 1e-6);
    }

    #[test]
    fn a_draw_neither_overshoots_nor_loses_heat() {
        let mut column = nodes(&[20.0, 20.0, 30.0, 55.0, 60.0, 60.0]);
        let before_j = column.energy_j();
        let out_j = column.draw(70.0, 5.0);
        let gained_j = column.energy_j() - before_j;
        // Heat that left is relative to the mains water that came in for it.
        assert!((gained_j + out_j).abs() < 1e-9 * before_j);
        let temps_c = column.temps_c();
        assert!(temps_c.is_sorted() && temps_c[0] >= 5.0 && temps_c[5] <= 60.0);
    }

    #[test]
    fn conduction_alone_conserves_energy() {
        let mut column = nodes(&[10.0, 20.0, 50.0, 60.0]);
        column.loss_w_per_k.fill(0.0);
        let before_j = column.energy_j();
        for _ in 0..1000 {
            assert_eq!(column.exchange(60.0, 20.0), 0.0);
        }
        assert!((column.energy_j() / before_j - 1.0).abs() < 1e-12);
        assert!(column.temps_c().is_sorted());
    }
}
