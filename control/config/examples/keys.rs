//! Prints the manual of the keys, or with `--schema` the JSON Schema for editors.
//!
//! `cargo run -q -p config --example keys > control/config/KEYS.md`

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("--schema") => println!("{:#}", config::json_schema(config::SchemaOf::Document)),
        _ => print!("{}", config::keys_markdown()),
    }
}
