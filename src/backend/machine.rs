//! The choice of a machine: a GPU, the CPU, or the better of the two.

use super::Backend;
use crate::error::{Error, Result};
use std::fmt;
use std::str::FromStr;

/// What to compute on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Machine {
    /// A real GPU, if there is one, else the CPU.
    #[default]
    Auto,
    /// The best adapter, also one that is a program on the CPU.
    Gpu,
    /// The CPU.
    Cpu,
}

impl Machine {
    /// Every choice.
    pub const ALL: [Machine; 3] = [Machine::Auto, Machine::Gpu, Machine::Cpu];

    /// The name in options.
    pub fn name(self) -> &'static str {
        match self {
            Machine::Auto => "auto",
            Machine::Gpu => "gpu",
            Machine::Cpu => "cpu",
        }
    }

    /// Opens the machine; says why, where `Auto` finds no real GPU and takes the CPU, and never fails. A CPU gets so many threads; 0 takes one for each core.
    ///
    /// # Errors
    /// `Device` if a GPU is asked for and there is no adapter, or it gives no device.
    pub async fn open(self, threads: usize) -> Result<(Backend, Option<String>)> {
        let why = match self {
            Machine::Cpu => None,
            Machine::Gpu => return Ok((Backend::gpu().await?, None)),
            Machine::Auto => match Backend::gpu().await {
                Ok(gpu) if !gpu.is_software() => return Ok((gpu, None)),
                Ok(gpu) => Some(format!("The CPU computes: {} is a program in place of a GPU", gpu.name())),
                Err(error) => Some(format!("The CPU computes: {error}")),
            },
        };
        Ok((Backend::cpu_with(threads), why))
    }
}

impl FromStr for Machine {
    type Err = Error;

    fn from_str(name: &str) -> Result<Machine> {
        let known = Machine::ALL.into_iter().find(|machine| machine.name() == name);
        known.ok_or_else(|| Error::not_known("backend", name, Machine::ALL.map(Machine::name)))
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::Machine;
    use crate::ErrorKind;

    #[test]
    fn names_are_read_as_they_are_written() {
        for machine in Machine::ALL {
            assert_eq!(machine.to_string().parse::<Machine>(), Ok(machine));
        }
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_list() {
        let error = "tpu".parse::<Machine>().expect_err("there is no such machine");
        assert_eq!(error.kind(), ErrorKind::Input);
        assert_eq!(error.to_string(), "backend \"tpu\" is not known (known: auto, gpu, cpu)");
    }
}
