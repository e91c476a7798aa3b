//! Programs at one end of the control socket, an appliance that knows its lines at the other.

mod appliance;
mod console;
mod programs;
