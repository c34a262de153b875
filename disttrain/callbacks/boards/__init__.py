"""What the TensorBoard callback shows beside curves and histograms, one kind a file; each turns values into what TensorBoard reads."""
