//! A file that is compiled as it is, and with changes.

mod unchanged {
    broken_source::source!("tests/example/sum.rs");
}

mod changed {
    broken_source::source!(
        "tests/example/sum.rs",
        { [first, second] },
        { [first] },
        {
            debug_assert!(sum >= first);
        },
        {}
    );
}

#[test]
fn only_what_is_named_is_replaced() {
    assert_eq!((unchanged::sum(1, 2), changed::sum(1, 2)), (3, 1));
}
