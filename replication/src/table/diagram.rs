//! State tables drawn as Mermaid diagrams, for `docs/states.md`.

use std::fmt::Write as _;

use contract::Protection;

use crate::table::pair::Pair;

impl Pair {
    /// The table as a Mermaid state diagram.
    #[must_use]
    pub fn diagram(self) -> String {
        let mut text = String::from("stateDiagram-v2\n");
        for row in self.rows() {
            let to = row.to.map_or_else(|| "[*]".to_owned(), name);
            // Writing to a string cannot fail.
            let _ = writeln!(text, "    {} --> {to}: {:?}", name(row.from), row.operation);
        }
        text
    }
}

/// The content of `docs/states.md`: the diagrams of all tables.
#[must_use]
pub fn page() -> String {
    let mut text = String::from(
        "# States\n\nGenerated from the tables in `replication/src/table` by `cargo xtask docs`. An \
         operation that is not\ndrawn is refused with `not-allowed-in-state` and changes nothing.\n",
    );
    for pair in Pair::ALL {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n## {}\n\n```mermaid\n{}```\n", pair.title(), pair.diagram());
    }
    text
}

/// Name of a state in a diagram.
fn name(state: Protection) -> String {
    format!("{:?}_{:?}", state.phase, state.active)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_of_diagrams_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/states.md");
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(written == page(), "docs/states.md is out of date; run `cargo xtask docs`");
    }

    #[test]
    fn a_diagram_has_an_arrow_for_every_row() {
        for pair in Pair::ALL {
            assert_eq!(pair.diagram().matches("-->").count(), pair.rows().len());
        }
    }
}
