//! The parts of the test of the configuration.

mod cases;
mod fixture;
mod good;
mod lines;
mod material;
mod mutations;
mod newcomers;
mod rendering;
