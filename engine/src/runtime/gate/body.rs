//! The gate's look at one function: validated as it is counted.

use wasmparser::{FuncToValidate, FunctionBody, Operator, OperatorsReader, ValidatorResources};

use super::{GateError, Walk, at_most, length};

impl Walk<'_, '_> {
    pub(super) fn body(
        &mut self,
        function: FuncToValidate<ValidatorResources>,
        body: &FunctionBody<'_>,
    ) -> Result<(), GateError> {
        let limits = *self.limits;
        at_most("body_bytes", length(&body.range()), limits.body_bytes)?;
        let mut validator = function.into_validator(std::mem::take(&mut self.allocations));
        let mut declared = body.get_locals_reader()?;
        // The parameters.
        let mut locals = u64::from(validator.len_locals());
        for _ in 0..declared.get_count() {
            let offset = declared.original_position();
            let (count, ty) = declared.read()?;
            locals += u64::from(count);
            at_most("locals", locals, limits.locals)?;
            validator.define_locals(offset, count, ty)?;
        }
        self.take("total_locals", |l| &mut l.total_locals, locals)?;
        let mut operators = OperatorsReader::new(declared.get_binary_reader());
        let (mut blocks, mut targets) = (0_u64, 0_u64);
        while !operators.eof() {
            let (operator, offset) = operators.read_with_offset()?;
            match &operator {
                Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => {
                    blocks += 1;
                    let product = blocks.saturating_mul(locals);
                    at_most("locals_times_blocks", product, limits.locals_times_blocks)?;
                    let depth = u64::from(validator.control_stack_height());
                    at_most("nesting", depth, limits.nesting)?;
                }
                Operator::BrTable { targets: table } => {
                    targets += u64::from(table.len());
                    at_most("branch_targets", targets, limits.branch_targets)?;
                }
                _ => {}
            }
            validator.op(offset, &operator)?;
        }
        operators.finish()?;
        self.allocations = validator.into_allocations();
        Ok(())
    }
}
