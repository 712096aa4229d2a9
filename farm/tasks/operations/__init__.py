"""Operations that make training data: one a file, each knows sources and samples and nothing of Ray, packs or forms."""
