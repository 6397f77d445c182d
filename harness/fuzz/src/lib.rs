//! Fuzz targets of the oracle and of what it reads. The model is that of the harness's own tests.

#[path = "../../tests/oracle/build.rs"]
pub mod build;
#[path = "../../tests/oracle/compare.rs"]
pub mod compare;
#[path = "../../tests/oracle/model.rs"]
pub mod model;
pub mod targets;
