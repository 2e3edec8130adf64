"""Learning curves of random configurations, recorded by the product itself."""
