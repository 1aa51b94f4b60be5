//! Pictures of the view at the sizes people use, and what hostile names may not do.


