//! The program `s2s-gw`. Everything is in the library, where tests can reach it; see `gateway::cli`.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: gateway::sys::wipe::Wiping = gateway::sys::wipe::Wiping;

fn main() -> ExitCode {
    gateway::cli::main()
}
