//! x
use crate::support::bed::Bed;
crate::tests![a];
fn a(bed: &mut Bed) {
    bed.start();
}
