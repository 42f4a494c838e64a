//! The documentation lists what there is.

use webreft::model::Component;
use webreft::reft::kinds::KINDS;

const README: &str = include_str!("../README.md");

#[test]
fn every_kind_stands_in_the_readme_with_its_equation() {
    for kind in KINDS {
        let line = format!("| `{}` | {} |", kind.name, kind.equation);
        assert!(README.contains(&line), "no line {line}");
    }
}

#[test]
fn every_component_stands_in_the_readme() {
    for component in Component::ALL {
        assert!(README.contains(&format!("`{}`", component.name())), "{}", component.name());
    }
}
