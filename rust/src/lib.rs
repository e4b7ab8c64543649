//! The core of longctx: documents in, encoder rows out.
//!
//! One direction: [`engine`] turns text into ids and byte spans, [`boundary`] and [`chunk`] decide where to cut, [`select`] which
//! chunks to keep, [`special`] what surrounds them, [`rows`] writes them, [`batch`] does it for many documents at once. [`dense`] stands
//! apart: parts of encoder layers on the CPU.
//! Nothing outside `python/` knows about Python.

mod ahead;
mod at_rest;
pub mod batch;
pub mod boundary;
pub mod chunk;
pub mod config;
pub mod dense;
pub mod documents;
pub mod engine;
pub mod error;
mod growing;
mod join;
mod long;
mod memory;
pub mod offsets;
pub mod output;
mod parallel;
pub mod plan;
pub mod rows;
mod scan;
mod segments;
pub mod select;
pub mod special;

#[cfg(feature = "python")]
mod python;
