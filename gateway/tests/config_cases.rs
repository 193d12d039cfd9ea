//! The configuration file from outside: what loads, what is refused, where, why, and in which words.
//!
//! ```text
//!   good/*.toml  load as they stand ──► every key misspelled ──► E0101 at the key, with the right suggestion
//!                                  └──► every value of a wrong type ──► an error at the value
//!   lines.rs     one bad line in a good file ──► code, line:column, words of why and fix
//!   cases.txt    several tables that do not fit together
//!   several.txt  one whole rendering, character by character
//! ```

#[cfg(test)]
mod config;
