"""What a search costs against random search, by replaying it over recorded learning curves."""
