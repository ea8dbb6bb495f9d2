//! The figures of a tank, their defaults and their limits.
//!
//! Owns what can be written on a tank's label. Refuses to know its state.

use serde::Deserialize;

use super::{PlantError, check_range};

/// Density of water near 50 C, kg/L, times its specific heat, J/(kg K): J/(L K).
pub(super) const WATER_J_PER_L_K: f64 = 0.988 * 4181.0;

/// The label of a tank. The default is a 50 US gallon two-element North American heater.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TankSpec {
    /// Number of equal horizontal layers, 2 to 100. Default 12.
    pub node_count: usize,
    /// Water volume, litres. Default 190.
    pub volume_l: f64,
    /// Inside height, metres; with the volume it gives the surface of each layer. Default 1.2.
    pub height_m: f64,
    /// Standing loss, W per K between water and room. Default 2.0, about the limit for a tank of
    /// this size in Canada (see `PLANT.md`); a new US tank of UEF 0.93 has about 0.9.
    pub loss_w_per_k: f64,
    /// Effective vertical conductivity of water and wall, W/(m K). Default 1.0.
    pub conductivity_w_per_m_k: f64,
    /// Power of the lower element, W. Default 4500.
    pub lower_element_w: f64,
    /// Power of the upper element, W; 0 for a tank with one element. Default 4500.
    pub upper_element_w: f64,
    /// Height of the lower element and its sensor, as a fraction of the tank's. Default 0.15.
    pub lower_height_fraction: f64,
    /// Height of the upper element and its sensor, as a fraction of the tank's. Default 0.70.
    pub upper_height_fraction: f64,
    /// A thermostat closes below setpoint minus this, K, and opens at setpoint. Default 4.
    pub deadband_k: f64,
    /// The limit switch opens both elements when any layer is this hot, degrees Celsius,
    /// whatever the setpoint. Default 85.
    pub cutout_c: f64,
}

impl Default for TankSpec {
    fn default() -> Self {
        Self {
            node_count: 12,
            volume_l: 190.0,
            height_m: 1.2,
            loss_w_per_k: 2.0,
            conductivity_w_per_m_k: 1.0,
            lower_element_w: 4500.0,
            upper_element_w: 4500.0,
            lower_height_fraction: 0.15,
            upper_height_fraction: 0.70,
            deadband_k: 4.0,
            cutout_c: 85.0,
        }
    }
}

impl TankSpec {
    /// Refuses a label that describes no tank.
    pub(super) fn check(&self) -> Result<(), PlantError> {
        check_range("node_count", self.node_count as f64, 2.0, 100.0)?;
        check_range("volume_l", self.volume_l, 1.0, 10_000.0)?;
        check_range("height_m", self.height_m, 0.1, 10.0)?;
        check_range("loss_w_per_k", self.loss_w_per_k, 0.0, 100.0)?;
        check_range("conductivity_w_per_m_k", self.conductivity_w_per_m_k, 0.0, 100.0)?;
        check_range("lower_element_w", self.lower_element_w, 0.0, 100_000.0)?;
        check_range("upper_element_w", self.upper_element_w, 0.0, 100_000.0)?;
        check_range("lower_height_fraction", self.lower_height_fraction, 0.0, 1.0)?;
        check_range(
            "upper_height_fraction",
            self.upper_height_fraction,
            self.lower_height_fraction,
            1.0,
        )?;
        check_range("deadband_k", self.deadband_k, 0.1, 30.0)?;
        check_range("cutout_c", self.cutout_c, 40.0, 95.0)
    }

    /// The layer, counted from the bottom, that holds this fraction of the height.
    pub(super) fn node_at(&self, height_fraction: f64) -> usize {
        let node = (height_fraction * self.node_count as f64) as usize;
        node.min(self.node_count - 1)
    }

    /// Horizontal cross-section, m2.
    pub(super) fn cross_section_m2(&self) -> f64 {
        self.volume_l / 1000.0 / self.height_m
    }

    /// The standing loss of each layer, W/K, in proportion to its outside surface: all share
    /// the side of the cylinder, the first and the last have a lid each.
    pub(super) fn loss_by_node_w_per_k(&self) -> Vec<f64> {
        let lid_m2 = self.cross_section_m2();
        let side_m2 = 2.0 * (std::f64::consts::PI * lid_m2).sqrt() * self.height_m;
        let w_per_k_m2 = self.loss_w_per_k / (side_m2 + 2.0 * lid_m2);
        let mut loss = vec![w_per_k_m2 * side_m2 / self.node_count as f64; self.node_count];
        loss[0] += w_per_k_m2 * lid_m2;
        loss[self.node_count - 1] += w_per_k_m2 * lid_m2;
        loss
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layer_losses_add_up_to_the_label() {
        let spec = TankSpec::default();
        let loss = spec.loss_by_node_w_per_k();
        assert!((loss.iter().sum::<f64>() - 2.0).abs() < 1e-12);
        assert!(loss[0] > loss[1] && loss[11] > loss[10]);
    }

    #[test]
    fn elements_sit_where_a_50_gallon_tank_has_them() {
        let spec = TankSpec::default();
        assert_eq!(spec.node_at(spec.lower_height_fraction), 1);
        assert_eq!(spec.node_at(spec.upper_height_fraction), 8);
        assert_eq!(spec.node_at(1.0), 11);
    }

    #[test]
    fn an_impossible_label_is_refused_by_name() {
        let spec = TankSpec { volume_l: f64::NAN, ..TankSpec::default() };
        assert_eq!(spec.check(), Err(PlantError::NotFinite { quantity: "volume_l" }));
        let spec = TankSpec { node_count: 1, ..TankSpec::default() };
        assert!(matches!(spec.check(), Err(PlantError::OutOfRange { .. })));
    }
}
