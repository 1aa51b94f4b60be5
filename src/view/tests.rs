//! Pictures of the view at the sizes people use, and what hostile names may not do.

use proptest::prelude::*;
use sluice_schemas::PicoUsd;

use super::*;
