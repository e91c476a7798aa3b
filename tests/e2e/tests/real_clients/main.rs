//! Programs that others wrote, as they are installed, through an HTTP pool of the real binary: each says itself whether
//! it is content, and the appliance's own accounts must agree. One module a kind of program.

#![forbid(unsafe_code)]

mod browser;
mod curl;
mod load;
mod origins;
mod programs;
mod scripts;
mod servers;
mod site;
mod trees;
