//! The program `s2s-gw`. Everything is in the library, where tests can reach it; see `gateway::cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    gateway::cli::main()
}
