//! What is compared between runs.

use contract::{Bytes, Millis};

/// How values of a measure are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// By their ratios; a value of 0 is none.
    Ratio,
    /// By their differences; 0 is a value like any other.
    Difference,
}

/// Something that runs measure, of which more is worse.
#[derive(Debug)]
pub struct Measure {
    /// Its name in a series.
    pub key: &'static str,
    /// Its name for people.
    pub title: &'static str,
    /// What it is, for the documentation.
    pub means: &'static str,
    /// The unit after a value; empty if the value shows it.
    pub unit: &'static str,
    /// What its series are about, in the plural.
    pub places: &'static str,
    /// How it is compared.
    pub scale: Scale,
    /// The smallest rise that matters, as a share.
    pub least_share: f64,
    /// The smallest rise that matters, as a value.
    pub least_value: f64,
    /// How a value is shown.
    shown: fn(f64) -> String,
}

/// Everything that is compared.
pub static MEASURES: &[Measure] = &[
    Measure {
        key: "rto",
        title: "recovery time (RTO)",
        means: "recovery time of an edge, divided by the first cold boot of the same scenario in the same run",
        unit: " cold boots",
        places: "edges",
        scale: Scale::Ratio,
        least_share: 0.05,
        least_value: 0.0,
        shown: |value| format!("{value:.3}"),
    },
    Measure {
        key: "recovery",
        title: "recovery time beside its boot",
        means: "recovery time of an edge, divided by the boot of the recovered machine in it: a busy host slows both, and what slows that boot shows only in the measure above",
        unit: " boots of its own",
        places: "edges",
        scale: Scale::Ratio,
        least_share: 0.05,
        least_value: 0.0,
        shown: |value| format!("{value:.3}"),
    },
    Measure {
        key: "rpo",
        title: "data loss (RPO)",
        means: "milliseconds from the first lost acknowledgement to the disaster",
        unit: "",
        places: "edges",
        scale: Scale::Difference,
        least_share: 0.2,
        least_value: 50.0,
        shown: |value| Millis(value.round() as u64).to_string(),
    },
    Measure {
        key: "gap",
        title: "time between points",
        means: "median time between one recovery point and the next in a scenario, as the core states it: most of the data loss follows from it",
        unit: "",
        places: "edges",
        scale: Scale::Ratio,
        least_share: 0.1,
        least_value: 0.0,
        shown: |value| Millis(value.round() as u64).to_string(),
    },
    Measure {
        key: "sent",
        title: "bytes sent",
        means: "bytes written at the target site until the first recovery point of a reprotection, counted below the core",
        unit: "",
        places: "edges",
        scale: Scale::Ratio,
        least_share: 0.1,
        least_value: 0.0,
        shown: |value| Bytes(value.round() as u64).to_string(),
    },
    Measure {
        key: "delta",
        title: "delta cost",
        means: "bytes sent for each byte that had changed on either side",
        unit: " bytes sent for each that changed",
        places: "edges",
        scale: Scale::Ratio,
        least_share: 0.05,
        least_value: 0.0,
        shown: |value| format!("{value:.3}"),
    },
    Measure {
        key: "slowdown",
        title: "guest slowdown",
        means: "writes per second without replication, divided by those with it (scenario `iops`)",
        unit: " ×",
        places: "edges",
        scale: Scale::Ratio,
        least_share: 0.05,
        least_value: 0.0,
        shown: |value| format!("{value:.3}"),
    },
    Measure {
        key: "bench",
        title: "time beside its reference",
        means: "time of a row of `cargo xtask bench`, divided by that of its reference in the same round; the median of the rounds",
        unit: " × the reference's",
        places: "rows",
        scale: Scale::Ratio,
        least_share: 0.1,
        least_value: 0.0,
        shown: |value| format!("{value:.3}"),
    },
];

impl Measure {
    /// The measure with this key.
    #[must_use]
    pub fn find(key: &str) -> Option<&'static Self> {
        MEASURES.iter().find(|measure| measure.key == key)
    }

    /// A value with its unit.
    #[must_use]
    pub fn show(&self, value: f64) -> String {
        format!("{}{}", self.figure(value), self.unit)
    }

    /// A value without [`Measure::unit`].
    #[must_use]
    pub fn figure(&self, value: f64) -> String {
        (self.shown)(value)
    }

    /// The number that is compared; `None` if the value is none: not finite, below 0, or 0 where
    /// ratios are compared.
    #[must_use]
    pub fn compared(&self, value: f64) -> Option<f64> {
        match self.scale {
            _ if !value.is_finite() || value < 0.0 => None,
            Scale::Ratio => (value > 0.0).then(|| value.ln()),
            Scale::Difference => Some(value),
        }
    }

    /// The value of a number that was compared.
    #[must_use]
    pub fn value(&self, compared: f64) -> f64 {
        match self.scale {
            Scale::Ratio => compared.exp(),
            Scale::Difference => compared,
        }
    }

    /// The smallest rise that matters of numbers that are compared, if they usually are `level`.
    #[must_use]
    pub fn least_rise(&self, level: f64) -> f64 {
        match self.scale {
            Scale::Ratio => self.least_share.ln_1p(),
            Scale::Difference => (self.least_share * level).max(self.least_value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_value_is_not_compared() {
        let (rto, rpo) = (Measure::find("rto").unwrap(), Measure::find("rpo").unwrap());
        for nothing in [f64::NAN, f64::INFINITY, -1.0] {
            assert_eq!((rto.compared(nothing), rpo.compared(nothing)), (None, None));
        }
        assert_eq!((rto.compared(0.0), rpo.compared(0.0)), (None, Some(0.0)));
        assert!((rto.value(rto.compared(1.4).unwrap()) - 1.4).abs() < 1e-12);
    }

    #[test]
    fn a_small_rise_does_not_matter() {
        let (rto, rpo) = (Measure::find("rto").unwrap(), Measure::find("rpo").unwrap());
        assert!((rto.least_rise(0.0) - 1.05_f64.ln()).abs() < 1e-12);
        assert_eq!([0.0, 100.0, 1_000.0].map(|level| rpo.least_rise(level)), [50.0, 50.0, 200.0]);
    }

    #[test]
    fn values_are_shown_with_their_units() {
        let show = |key, value| Measure::find(key).unwrap().show(value);
        assert_eq!(show("rto", 1.2345), "1.234 cold boots");
        assert_eq!((show("rpo", 599.0), show("sent", 4096.0)), ("599 ms".into(), "4.0 KiB".into()));
    }
}
