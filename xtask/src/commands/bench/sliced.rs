//! Several who come and go while a load runs, in turns: what each of them leaves of it.

use anyhow::Result;

use super::Time;
use crate::bench::empty::Idle;
use crate::bench::report::{Row, Section};
use crate::bench::slices::{self, Load, Switched};

/// How often each of them is loaded, and for how many seconds of load: the difference is small, and so has to be the doubt.
#[derive(Clone, Copy)]
pub struct Length {
    pub times: u32,
    pub seconds: u32,
}

impl Length {
    /// The other one where time is short.
    pub const fn or_quick(self, quick: Self, time: Time) -> Self {
        if time.rounds < 6 { quick } else { self }
    }
}

/// Per second with nobody, and what each leaves of that, slice by slice.
pub struct Several {
    pub without: Vec<f64>,
    pub left: Vec<Vec<f64>>,
}

/// Loads each of them anew in every round, behind other programs: where its instructions come to lie in memory is up to the kernel,
/// depends on what was loaded before, and moves what is left by up to 0.02.
pub fn measure<T: Copy>(
    who: &[T],
    length: Length,
    load: Load,
    switched: impl Fn(T) -> Result<Box<dyn Switched>>,
) -> Result<Several> {
    let mut without = Vec::new();
    let mut left = vec![Vec::new(); who.len()];
    for round in 0..length.times {
        for (number, (who, left)) in who.iter().zip(&mut left).enumerate() {
            let _elsewhere = Idle::load(u64::from(round) << 32 | number as u64)?;
            let measured = slices::left(&mut *switched(*who)?, load, length.seconds)?;
            left.extend(measured.left);
            without.extend(measured.without);
        }
    }
    Ok(Several { without, left })
}

/// A row of slices, which is also shown at once.
pub fn push(section: &mut Section, row: Row) {
    println!(
        "    {}: {:.4} of {} slices",
        row.what,
        row.value(),
        row.samples.len()
    );
    section.push(row);
}
